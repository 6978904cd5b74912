"""A missing program never hides a broken test where commits are checked."""

from __future__ import annotations

import pytest

from tests.requirements_of_machine import missing


def test_what_is_missing_fails_in_ci_and_skips_elsewhere_with_the_reason() -> None:
    with pytest.raises(pytest.fail.Exception, match="needs Prometheus: apt-get install prometheus"):
        missing("Prometheus", "apt-get install prometheus", {"CI": "true"})
    for elsewhere in ({}, {"CI": "false"}):
        with pytest.raises(pytest.skip.Exception, match="needs Prometheus: apt-get install prometheus"):
            missing("Prometheus", "apt-get install prometheus", elsewhere)
