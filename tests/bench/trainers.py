"""One training run of each side, in a process of its own, timed in the same way.

Both get the same base, conversations, rows at once, rank, targets, optimizer and rate, and the same BLAS. Each tells
the wall and processor seconds at some of its steps, so that start-up is no part of the pace. Ours is `train_next`,
whole, with telemetry, events and saves, but no loss surface, which the reference does not have and which has a budget
of its own; the reference is `mlx_lm.lora`'s `train_model` without its evaluations.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog.plan import Plan
from catalog.runs import RunStore
from tests.bench import peers
from tests.house import REPOSITORY

NANO = "ragweld-nano"
BATCH, RANK, SCALE, LEARNING_RATE = 4, 8, 2.0, 1e-3
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
LONGEST_S = 900.0

OURS = """
import dataclasses, json, os, sys, threading, time
from pathlib import Path
from catalog.adapters import AdapterStore
from catalog.runs import RunStore
from trainer.exporter import Board
from trainer.main import train_next
from trainer.run import Workplace

home, limit_s = Path(sys.argv[1]), float(sys.argv[2])
stop, began_s = threading.Event(), None

def cpu_s():
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in children]
    ticks = sum(int(stat[11]) + int(stat[12]) for stat in stats)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

class Telling(Board):
    def show(self, run):
        global began_s
        super().show(run)
        now_s = time.perf_counter()
        if run.eval_loss is not None and began_s is None:
            began_s = now_s
        if began_s is not None and now_s - began_s > limit_s:
            stop.set()
        told = {"step": run.step, "wall_s": now_s, "cpu_s": cpu_s(), "peak_bytes": run.memory_bytes}
        print(json.dumps(told | {"eval_loss": run.eval_loss}), flush=True)

place = Workplace(home, lambda scope, base: home / scope, RunStore(home), AdapterStore(home), Telling(), stop)
place = dataclasses.replace(place, processes=0)
sys.exit(not train_next(place))
"""

REFERENCE = """
import json, sys, time, types
import mlx.core as mx
import numpy as np
from mlx_lm import lora
from mlx_lm.tuner.callbacks import TrainingCallback

class Telling(TrainingCallback):
    def on_train_loss_report(self, info):
        told = {"step": info["iteration"], "wall_s": time.perf_counter(), "cpu_s": time.process_time()}
        told |= {"peak_bytes": mx.get_peak_memory(), "tokens": info["trained_tokens"]}
        print("TOLD " + json.dumps(told), flush=True)

args = types.SimpleNamespace(**(lora.CONFIG_DEFAULTS | json.loads(sys.argv[1])))
np.random.seed(args.seed)
model, tokenizer = lora.load(args.model)
train_set, _, _ = lora.load_dataset(args, tokenizer)
print("TOLD " + json.dumps({"step": 0, "wall_s": time.perf_counter(), "cpu_s": time.process_time()}), flush=True)
lora.train_model(args, model, train_set, [], Telling())
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What a side said at a step."""

    step: int
    wall_s: float
    cpu_s: float
    peak_bytes: int | None = None
    tokens: int = 0
    """Supervised, up to this step, as the reference counts them: a padding token of every row is among them."""
    eval_loss: float | None = None


def ours(home: Path, plan: Plan, limit_s: float = LONGEST_S) -> tuple[list[Told], Path]:
    """Train `plan` in `home` for at most `limit_s` after its first measurement; what was told, and the adapter."""
    run_id = RunStore(home).create("default", plan).run_id
    lines = _lines([sys.executable, "-c", OURS, str(home), str(limit_s)], {})
    return [Told(**json.loads(line)) for line in lines], RunStore(home).model_folder(run_id)


def reference(base: Path, data: Path, out: Path, **changes: object) -> tuple[list[Told], Path]:
    """Train by `mlx_lm.lora` of the pinned version; what was told, and the adapter's folder."""
    keys = [f"self_attn.{name}" for name in ATTENTION] + [f"mlp.{name}" for name in MLP]
    settings: dict[str, object] = {"model": str(base), "data": str(data), "train": True, "num_layers": -1}
    settings |= {"batch_size": BATCH, "learning_rate": LEARNING_RATE, "optimizer": "adamw", "mask_prompt": True}
    settings |= {"lora_parameters": {"rank": RANK, "scale": SCALE, "dropout": 0.0, "keys": keys}}
    settings |= {"adapter_path": str(out), "save_every": 1 << 30, "max_seq_length": 2048} | changes
    command = [str(peers.mlx_lm_python()), "-c", REFERENCE, json.dumps(settings)]
    lines = _lines(command, {"LD_PRELOAD": peers.openblas()})
    told = [line.removeprefix("TOLD ") for line in lines if line.startswith("TOLD ")]
    return [Told(**json.loads(line)) for line in told], out


def plan(base: Path, data: Path, **changes: object) -> Plan:
    """What is asked of ours; the same as of the reference."""
    values: dict[str, object] = {"base": str(base), "dataset_path": str(data / "train.jsonl"), "seed": 0, "epochs": 1}
    values |= {"validation_path": str(data / "valid.jsonl"), "batch_size": BATCH, "grad_accum_steps": 1}
    values |= {"lr": LEARNING_RATE, "lr_schedule": "constant", "warmup_ratio": 0.0, "max_length": 2048}
    values |= {"lora_rank": RANK, "lora_alpha": RANK * SCALE, "lora_dropout": 0.0}
    values |= {"lora_target_modules": [*ATTENTION, *MLP], "telemetry_interval_steps": 2}
    values |= {"surface_grid": 0, "promote_if_improves": False, "promote_epsilon": 0.0, "eval_interval_steps": 100_000}
    return Plan.model_validate(values | changes)


def _lines(command: list[str], environ: Mapping[str, str]) -> list[str]:
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout.splitlines()
