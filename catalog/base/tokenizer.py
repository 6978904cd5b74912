"""The tokenizer of a base without its weights: enough to see what a dataset becomes.

`tests/catalog/test_datasets_check.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

from catalog.base import blas
from catalog.errors import Unavailable
from catalog.ids import BaseId

blas.preload()

from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402
from mlx_lm.utils import load_tokenizer  # noqa: E402


def load(base: BaseId, folder: Path) -> TokenizerWrapper:
    """As `catalog.base.load` makes it; raises Unavailable."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return load_tokenizer(folder, eos_token_ids=config.get("eos_token_id"))
    except (OSError, ValueError, KeyError) as error:
        raise Unavailable(
            f"The tokenizer of {base} in {folder.name} cannot be loaded: {error}",
            hint="Its download may be incomplete; fetch it again.",
        ) from error
