"""`python -m deploy` is the console command, so that the supervisor starts its children without finding a script."""

from __future__ import annotations

import sys

from deploy.cli import main

if __name__ == "__main__":
    sys.exit(main())
