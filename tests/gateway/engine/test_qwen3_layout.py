"""A folder laid out like mlx-community/Qwen3-1.7B-4bit (4-bit, in shards, its config) loads, answers and takes LoRA."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlx.utils import tree_flatten

from catalog.base import device
from catalog.base.load import bytes_in_memory, load
from catalog.base.locate import find, size_of
from catalog.base.lora import linear_shapes, read_adapter
from catalog.ids import BaseId
from gateway.engine.requests import Generation
from tests.gateway.engine.conftest import GREEDY, House, answer, prompt, run, running
from tests.published_layout import write_layout
from tests.tiny_base import write_adapter


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("published") / "Qwen3-4bit")


def test_it_is_found_and_its_size_is_told_without_loading(layout: Path) -> None:
    assert find(str(layout)) == layout
    size = size_of(layout)
    loaded = load(BaseId("x"), layout)
    assert size.context == 40960
    assert abs(size.parameters - loaded.parameters) < 0.001 * loaded.parameters


@pytest.mark.parametrize("cpu_float32", [True, False])
def test_its_bytes_in_memory_are_told_without_loading(layout: Path, cpu_float32: bool) -> None:
    model = load(BaseId("x"), layout, cpu_float32=cpu_float32).model
    taken = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
    told = bytes_in_memory(BaseId("x"), layout, cpu_float32=cpu_float32)
    assert taken <= told * 1.01 and told <= taken * 1.05


@pytest.mark.parametrize("cpu_float32", [True, False])
def test_it_loads_in_the_precision_of_the_policy(layout: Path, cpu_float32: bool) -> None:
    base = load(BaseId("x"), layout, cpu_float32=cpu_float32)
    widened = cpu_float32 and device.current().kind == "cpu"
    assert base.precision == ("float32 (stored as 4-bit)" if widened else "4-bit")
    assert linear_shapes(base.model)["model.layers.0.mlp.down_proj"].inputs == 512


@pytest.mark.parametrize("cpu_float32", [True, False])
def test_it_answers_with_and_without_an_adapter(layout: Path, tmp_path: Path, cpu_float32: bool) -> None:
    adapter = write_adapter(tmp_path / "a", layout, seed=2, keys=("self_attn.q_proj", "mlp.down_proj"), size=1.0)
    house = House(tmp_path / "home", layout, (adapter,))

    async def scene() -> None:
        async with running(house, cpu_float32=cpu_float32) as engine:
            tokens = await prompt(engine, "hello")
            plain, _ = await answer(engine, Generation(tokens, None, 8, sampling=GREEDY))
            adapted, _ = await answer(engine, Generation(tokens, house.ids[0], 8, sampling=GREEDY))
            assert plain != adapted

    run(scene())
    shapes = linear_shapes(load(BaseId("x"), layout, cpu_float32=False).model)
    assert read_adapter(adapter, shapes).rank == 4
