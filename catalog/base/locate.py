"""Where a base's weights lie on this machine, and which base answers when the wanted one is not here.

Never downloads and never loads: cheap enough for `doctor`, the banner and a settings change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import Unavailable
from catalog.ids import BaseId
from catalog.models import NANO

NANO_FOLDER = Path(__file__).parents[1] / "nano"


@dataclass(frozen=True, slots=True)
class BaseChoice:
    """A base that can be loaded, and in one sentence why it is this one."""

    base: BaseId
    folder: Path
    reason: str
    is_wanted: bool


def find(base: str) -> Path | None:
    """Folder with the base's config and weights: built in, a local path, or Hugging Face's cache; None if not here."""
    if base == NANO:
        return NANO_FOLDER if _is_whole(NANO_FOLDER) else None
    local = Path(base).expanduser()
    if local.is_absolute():
        return local if _is_whole(local) else None
    return _in_hub_cache(base)


def choose(wanted: str) -> BaseChoice:
    """The wanted base if its weights are here, else ragweld-nano with what to do; raises Unavailable if neither is."""
    folder = find(wanted)
    if folder is not None:
        return BaseChoice(BaseId(wanted), folder, "its weights are on this machine", is_wanted=True)
    nano = find(NANO)
    if nano is None:
        raise Unavailable(f"Neither {wanted} nor {NANO} is on this machine.", hint=download_hint(wanted))
    return BaseChoice(NANO, nano, f"{wanted} is not on this machine; {download_hint(wanted)}", is_wanted=False)


def download_hint(base: str) -> str:
    """What to type to get a base."""
    return f"`hf download {base}` fetches it"


@dataclass(frozen=True, slots=True)
class BaseSize:
    """What the config and the files tell without loading. `context` in tokens."""

    parameters: int
    context: int


def size_of(folder: Path) -> BaseSize:
    """Parameters (from the tensors' shapes in the safetensors headers; packed weights counted unpacked, without what
    they are unpacked by) and context."""
    config = json.loads((folder / "config.json").read_bytes())
    bits = (config.get("quantization") or {}).get("bits", 32)
    parameters = 0
    for path in folder.glob("model*.safetensors"):
        parameters += sum(_parameters(tensor, bits) for name, tensor in _header(path) if not _unpacks(name, bits))
    return BaseSize(parameters, int(config.get("max_position_embeddings", 4096)))


def _header(path: Path) -> list[tuple[str, dict[str, object]]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return [(name, tensor) for name, tensor in header.items() if name != "__metadata__"]


def _unpacks(name: str, bits: int) -> bool:
    return bits < 32 and name.endswith((".scales", ".biases"))


def _parameters(tensor: dict[str, object], bits: int) -> int:
    count = 1
    for side in tensor["shape"]:  # type: ignore[attr-defined]
        count *= side
    return count * 32 // bits if tensor["dtype"] == "U32" else count


def _is_whole(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("model*.safetensors"))


def _in_hub_cache(base: str) -> Path | None:
    from huggingface_hub import snapshot_download  # slow to import; only where a hub id is asked for
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(base, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if _is_whole(folder) else None
