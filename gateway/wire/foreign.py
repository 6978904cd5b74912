"""What reading JSON that an upstream or a model wrote may raise, so that nobody who reads it forgets one.

msgspec tells of deep nesting by RecursionError, which is no ValueError. `tests/gateway/test_fault_table.py`.
"""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
