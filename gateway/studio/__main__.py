"""`python -m gateway.studio`: write the page's types from the gateway's shapes."""

from __future__ import annotations

from pathlib import Path

from catalog import files
from gateway.studio import types

if __name__ == "__main__":
    files.write_bytes(Path(__file__).parent / types.FILE, types.text().encode())
