"""The one place for durable truth: models, settings, adapters and their alias, runs and their events.

Imports neither the gateway nor the trainer. Everything that reaches the disk goes through `catalog.files`.
`tests/test_house.py` fails on an import against this direction.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ragweld")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0.0.0+checkout"
