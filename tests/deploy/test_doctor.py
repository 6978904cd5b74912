"""The doctor: each answer says what to type, and only "nobody can answer" is an error."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from catalog.base.blas import Blas
from catalog.base.device import Device
from catalog.base.locate import BaseChoice
from catalog.errors import Unavailable
from catalog.ids import BaseId
from catalog.settings import Settings, load
from deploy import doctor
from deploy.doctor import Check
from deploy.neighbours import PROMETHEUS

UPSTREAM = {"name": "near", "base_url": "http://127.0.0.1:11434/v1", "model": "qwen3"}


def choice(wanted: str) -> BaseChoice:
    return BaseChoice(BaseId(wanted), Path("/weights"), "its weights are on this machine", is_wanted=True)


def nano(wanted: str) -> BaseChoice:
    return BaseChoice(BaseId("ragweld-nano"), Path("/weights"), f"{wanted} is not on this machine", is_wanted=False)


def no_base(wanted: str) -> BaseChoice:
    raise Unavailable(f"Neither {wanted} nor ragweld-nano is on this machine.", hint="`hf download x` fetches it")


def roomy(folder: Path) -> tuple[int, int, int]:
    return (10**12, 0, 10**12)


def full(folder: Path) -> tuple[int, int, int]:
    return (10**12, 10**12, 10**6)


def test_an_old_python_is_named() -> None:
    assert doctor.python_check((3, 11, 7)) == Check("python", "ok", "3.11.7")
    assert doctor.python_check((3, 10, 1)).status == "missing"


def test_the_device_is_named_with_its_memory() -> None:
    assert doctor.device_check(Device("metal", "Apple M4", 16 * 2**30)).detail == "metal: Apple M4, 16 GiB"


def test_a_slow_blas_says_what_makes_it_fast() -> None:
    assert doctor.blas_check(Blas("OpenBLAS", fast=True)).status == "ok"
    slow = doctor.blas_check(Blas("reference BLAS", fast=False, hint="apt-get install libopenblas0-pthread"))
    assert (slow.status, slow.fix) == ("better", "apt-get install libopenblas0-pthread")


def test_the_base_says_who_answers_meanwhile() -> None:
    assert doctor.base_check("a/b", choice).status == "ok"
    meanwhile = doctor.base_check("a/b", nano)
    assert meanwhile.status == "better"
    assert "ragweld-nano answers meanwhile" in meanwhile.detail
    assert "a/b" in meanwhile.fix
    assert doctor.base_check("a/b", no_base).fix == "`hf download x` fetches it"


@pytest.mark.parametrize(
    ("base_status", "changes", "environ", "answers"),
    [
        ("ok", {}, {}, "this machine"),
        ("missing", {}, {}, None),
        ("missing", {"upstreams": [UPSTREAM]}, {}, "near"),
        ("missing", {"upstreams": [UPSTREAM | {"api_key_env": "NEAR_KEY"}]}, {}, None),
        ("missing", {"upstreams": [UPSTREAM | {"api_key_env": "NEAR_KEY"}]}, {"NEAR_KEY": "k"}, "near"),
        ("missing", {"upstreams": [UPSTREAM | {"enabled": False}]}, {}, None),
        ("ok", {"upstreams": [UPSTREAM]}, {}, "this machine, then near"),
        ("ok", {"engine": {"enabled": False}}, {}, None),
    ],
)
def test_only_nobody_who_can_answer_is_an_error(
    base_status: doctor.Status, changes: dict[str, Any], environ: dict[str, str], answers: str | None
) -> None:
    check = doctor.answers_check(Check("base", base_status, ""), Settings.model_validate(changes), environ)
    assert (check.detail if check.status == "ok" else None) == answers
    assert doctor.exit_code([check]) == (os.EX_OK if answers else os.EX_UNAVAILABLE)


def test_a_home_that_does_not_exist_yet_is_judged_by_the_folder_above(tmp_path: Path) -> None:
    assert doctor.home_check(tmp_path / "not/yet", roomy).status == "ok"
    assert not (tmp_path / "not").exists()


def test_a_home_that_cannot_be_written_or_has_no_room_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    assert "--home" in doctor.home_check(tmp_path / "file/home", roomy).fix
    assert doctor.home_check(tmp_path, full).status == "better"


def test_a_taken_port_names_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
        taken = doctor.port_check("gateway", "127.0.0.1", port, "--port")
    assert (taken.status, taken.detail) == ("better", f"127.0.0.1:{port} is taken")
    assert taken.fix.endswith("--port")
    assert doctor.port_check("gateway", "127.0.0.1", port, "--port").status == "ok"


def test_a_neighbour_that_is_away_says_how_to_start_it() -> None:
    assert doctor.neighbour_check(PROMETHEUS, True, lambda program: None).status == "ok"
    start = doctor.neighbour_check(PROMETHEUS, False, lambda program: f"/usr/bin/{program}").fix
    assert start.startswith("prometheus --config.file=")
    install = doctor.neighbour_check(PROMETHEUS, False, lambda program: None).fix
    assert install.endswith(f"install prometheus, then {start}")


def test_programs_are_found_under_any_of_their_names() -> None:
    found = doctor.program_check("chromium", {"google-chrome": "/opt/google-chrome"}.get)
    assert (found.status, found.detail) == ("ok", "/opt/google-chrome")
    assert doctor.program_check("ffmpeg", {}.get).fix.endswith("install ffmpeg")


def test_what_to_type_is_of_this_system() -> None:
    assert doctor.install("ffmpeg", "darwin") == "brew install ffmpeg"
    assert doctor.install("ffmpeg", "linux") == "apt-get install ffmpeg"


def test_changed_settings_are_named_with_who_set_them(tmp_path: Path) -> None:
    assert doctor.settings_check(load(tmp_path, {})).detail == "all default"
    changed = load(tmp_path, {"RAGWELD_GATEWAY_PORT": "9000"})
    assert doctor.settings_check(changed).detail == "gateway.port (environment)"


def test_the_table_is_aligned_with_what_to_do_under_its_row() -> None:
    assert doctor.table([Check("blas", "ok", "OpenBLAS"), Check("gateway port", "missing", "taken", "use --port")]) == [
        "ok        blas          OpenBLAS",
        "missing   gateway port  taken",
        "                        -> use --port",
    ]


def test_every_question_is_answered_on_this_machine(tmp_path: Path) -> None:
    said: list[str] = []
    assert doctor.run(load(tmp_path, {}), tmp_path, {}, said.append) in (os.EX_OK, os.EX_UNAVAILABLE)
    words = " ".join(said)
    for name in ("python", "device", "blas", "base", "answers", "home", "prometheus", "grafana", "ffmpeg", "chromium"):
        assert name in words
    assert list(tmp_path.iterdir()) == []
