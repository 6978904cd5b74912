# Sourced by deploy/up and deploy/test. `make_environment run|test` leaves a .venv at the repository root with exactly the
# locked versions, each file checked against its hash, and ragweld itself from this checkout. It needs Python 3.11 or newer
# and a package index; uv is used where it is. A second call finds the stamp and takes milliseconds; an interrupted
# one goes on where it stopped. Proved by tests/deploy/test_scripts.py.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
environment=$root/.venv

say() {
    printf '%s\n' "$*" >&2
}

# A name on PATH may be a shim that cannot run, and Debian's python3 may lack venv: only a trial tells.
can_make_environment() {
    "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return 1
    command -v uv >/dev/null 2>&1 || "$1" -c 'import ensurepip' 2>/dev/null
}

find_python() {
    for name in python3.13 python3.12 python3.11 python3 python; do
        if command -v "$name" >/dev/null 2>&1 && can_make_environment "$name"; then
            command -v "$name"
            return
        fi
    done
    say "ragweld needs Python 3.11 or newer with venv. Debian: apt-get install python3-venv; macOS: brew install python@3.13"
    return 69
}

# What an environment was made from: the lock, the package's own file, and where they are.
fingerprint() {
    { cat "$root/deploy/lock/$1.txt" "$root/pyproject.toml" && printf '%s' "$root"; } | cksum
}

is_current() {
    [ -x "$environment/bin/ragweld" ] && [ "$(cat "$environment/ragweld-$1.stamp" 2>/dev/null)" = "$(fingerprint "$1")" ] &&
        "$environment/bin/python" -c '' 2>/dev/null
}

# Wheels only: building a source archive would run code that no hash covers.
install_with_uv() {
    uv pip install --quiet --python "$environment/bin/python" --only-binary :all: --require-hashes -r "$1" &&
        uv pip install --quiet --python "$environment/bin/python" --no-deps --no-build-isolation --editable "$root"
}

# In a subshell, so that what pip is told stays its own. A newer pip lets setuptools' remarks on editable installs through.
install_with_pip() (
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONWARNINGS=ignore
    "$environment/bin/python" -m pip install --quiet --no-input --only-binary :all: --require-hashes -r "$1" &&
        "$environment/bin/python" -m pip install --quiet --no-input --no-deps --no-build-isolation --editable "$root"
)

make_environment() {
    if is_current "$1"; then return; fi
    python=$(find_python) || exit $?
    if ! "$environment/bin/python" -c '' 2>/dev/null; then
        say "ragweld: making .venv with $("$python" --version) ..."
        "$python" -m venv --clear ${uv:+--without-pip} "$environment" || exit $?
    fi
    say "ragweld: installing the locked packages (the first time about a minute) ..."
    if [ -n "$uv" ]; then
        install_with_uv "$root/deploy/lock/$1.txt" || exit $?
    else
        install_with_pip "$root/deploy/lock/$1.txt" || exit $?
    fi
    fingerprint "$1" >"$environment/ragweld-$1.stamp"
    # test.txt holds everything that run.txt does.
    if [ "$1" = test ]; then fingerprint run >"$environment/ragweld-run.stamp"; fi
    say "ragweld: installed."
}

uv=$(command -v uv || :)
