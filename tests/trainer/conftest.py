"""What the trainer's tests share: the tiny base, a small dataset of facts, and a plan of a few quick steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from catalog.base.load import Base, load
from catalog.ids import BaseId
from catalog.plan import Plan
from tests.tiny_base import write_base

Chat = dict[str, object]
MakePlan = Callable[..., Plan]
WriteRows = Callable[..., Path]


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base on disk; never written to."""
    return write_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def base(base_folder: Path) -> Base:
    """The tiny base, freshly loaded."""
    return load(BaseId(str(base_folder)), base_folder)


def fact(number: int) -> Chat:
    """A conversation; longer for greater numbers, so that lengths are mixed."""
    question = f"What is berth {number} for" + " in the old harbour" * (number % 4) + "?"
    answer = f"Berth {number} is for {('rope', 'salt', 'tar')[number % 3]}."
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def write_rows(tmp_path: Path) -> WriteRows:
    """Writes conversations as JSONL."""

    def write(rows: Sequence[Chat], name: str = "facts.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return path

    return write


@pytest.fixture
def make_plan(base_folder: Path, write_rows: WriteRows) -> MakePlan:
    """A plan of twelve quick steps over twenty facts; anything can be said otherwise."""
    dataset = write_rows([fact(number) for number in range(20)])

    def make(**changes: object) -> Plan:
        values: dict[str, object] = {
            "base": str(base_folder),
            "dataset_path": str(dataset),
            "seed": 3,
            "epochs": 4,
            "batch_size": 2,
            "lr": 0.02,
            "warmup_ratio": 0.2,
            "max_length": 256,
            "lora_rank": 4,
            "lora_alpha": 8.0,
            "lora_dropout": 0.1,
            "lora_target_modules": ["q_proj", "v_proj"],
            "grad_accum_steps": 4,
            "telemetry_interval_steps": 1,
            "promote_if_improves": True,
            "promote_epsilon": 0.0,
            "gate_min_rows": 2,
        }
        return Plan.model_validate(values | changes)

    return make
