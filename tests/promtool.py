"""What `promtool check metrics` says of an exposition."""

from __future__ import annotations

import subprocess

from tests.requirements_of_machine import need_promtool

NAMED_BY_A_PROTOCOL = ("vllm:",)
"""Colons are for recording rules; these names are Kubernetes' and not ours to choose."""


def complaints(exposition: bytes) -> list[str]:
    """Every fault that it finds in text of /metrics, but the colon of names that are not ours."""
    command = [str(need_promtool()), "check", "metrics"]
    said = subprocess.run(command, input=exposition, capture_output=True, check=False, timeout=60).stderr.decode()
    return [
        line
        for line in said.splitlines()
        if not (line.startswith(NAMED_BY_A_PROTOCOL) and "should not contain ':'" in line)
    ]
