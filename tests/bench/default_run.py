"""The default run on the shipped sample: what a person gets who changes nothing, in seconds of the processor and of the
clock, and what was learned."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from catalog.adapters import AdapterStore
from catalog.runs import RunStore
from tests.bench.trainers import NANO, default_plan
from trainer.main import train_next
from trainer.run import Workplace


def main() -> None:
    """Run and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        store = RunStore(home)
        run_id = store.create("default", default_plan()).run_id
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        train_next(Workplace(home, lambda scope, base: home / scope, store, AdapterStore(home)))
        figures = {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}
        run = store.get(run_id)
    if run.promotion is None or run.promotion.base_loss is None or run.promotion.candidate_loss is None:
        raise SystemExit(f"The run ended as {run.status}: {run.reason}")
    figures |= {"held_out_loss": run.promotion.candidate_loss, "of_the_base": run.promotion.base_loss}
    told = {name: round(value, 3) for name, value in figures.items()} | {"promoted": run.promotion.promoted}
    print(json.dumps({"bench": "default_run", "model": NANO, "figures": told}))


if __name__ == "__main__":
    main()
