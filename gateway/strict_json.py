"""The body of a request as JSON in the strict sense: each fault is a 400 with the path of its place.

What is refused stands in `catalog.strict_json`. `tests/gateway/test_strict_json.py`.
"""

from __future__ import annotations

from typing import Any

from catalog import strict_json
from gateway.errors import MalformedJson


def parse(body: bytes) -> Any:
    """The value in `body`; raises MalformedJson whose `param` is a path like `$.messages[0].content`."""
    try:
        return strict_json.parse(body)
    except strict_json.JsonFault as fault:
        raise MalformedJson(f"The body {fault.what}.", param=fault.path) from fault
