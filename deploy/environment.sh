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
