"""However a stream is spoilt, its client gets whole events as they came, and either an end with [DONE] or an error."""

from __future__ import annotations

import uvloop

from tests.gateway.sse_fuzz import fuzz


def test_no_spoilt_stream_is_handed_on_wrongly() -> None:
    ends = uvloop.run(fuzz(3000, seed=2026))
    assert set(ends) == {
        "whole", "upstream_cut", "upstream_garbage", "upstream_error_body", "upstream_error_event",
    }  # fmt: skip
    assert min(ends.values()) > 30
