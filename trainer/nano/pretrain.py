"""Pretraining on a CPU with PyTorch: seeded, resumable, and honest about how long it will take.

Promises that a run resumed from its checkpoint sees the batches it would have seen. Muon for the matrices inside the
layers, AdamW for embedding and norms; warm-up, a level stretch, and a cosine descent over the last part. One process a
core with one thread each, gradients averaged once a step: on two shared cores twice as fast as two threads, which
wait for each other in every operation.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional as F

from trainer.nano import batches, tokenizer
from trainer.nano.muon import Muon
from trainer.nano.shape import Shape
from trainer.nano.torch_model import Qwen3

SAVE_EVERY_S = 120.0
PRINT_EVERY_STEPS = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run goes; everything that changes its result."""

    seed: int
    total_tokens: int
    processes: int = 2
    batch_tokens: int = 2048
    """Of one process; the step's batch is `processes` times as large."""
    matrix_lr: float = 0.02
    other_lr: float = 3e-3
    warm_up_tokens: int = 200_000
    descent_share: float = 0.5


@dataclass(slots=True)
class Progress:
    """Where a run stands: the shard it is in, the steps of it that are done, and the tokens seen."""

    shard: int = 0
    shard_steps: int = 0
    shard_start_tokens: int = 0
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


def lr_factor(plan: Plan, tokens: int) -> float:
    """The learning rate at `tokens`, as a share of its peak."""
    warm = min(1.0, (tokens + plan.batch_tokens) / plan.warm_up_tokens)
    descent_start = plan.total_tokens * (1 - plan.descent_share)
    down = min(1.0, max(0.0, (tokens - descent_start) / (plan.total_tokens - descent_start)))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * down)))


class Learner:
    """Model and optimizers of one process; every process holds the same numbers after every step."""

    def __init__(self, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.model = Qwen3(Shape())
        self.hidden = torch.compile(self.model.hidden, dynamic=True)
        matrices = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        inside = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in inside]
        self.peaks = (plan.matrix_lr, plan.other_lr)
        self.optimizers = (
            Muon(matrices, lr=plan.matrix_lr, momentum=0.95, weight_decay=0.02),
            torch.optim.AdamW(others, lr=plan.other_lr, betas=(0.9, 0.95), weight_decay=0.0),
        )

    def loss(self, batch: batches.Batch) -> Tensor:
        """The weighted mean of the token losses; logits are made only where a weight is."""
        ids = torch.from_numpy(batch.ids)
        weights = torch.from_numpy(batch.weights)[:, 1:].reshape(-1)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.hidden(ids[:, :-1]).reshape(weights.numel(), -1)
            kept = weights.nonzero().squeeze(1)
            logits = F.linear(hidden[kept], self.model.model.embed_tokens.weight)
        losses = F.cross_entropy(logits.float(), ids[:, 1:].reshape(-1)[kept], reduction="none")
        return (losses * weights[kept]).sum() / weights.sum()

    def step(self, batch: batches.Batch, factor: float) -> float:
        """One update from this process's batch and those of the others; returns this process's loss."""
        loss = self.loss(batch)
        loss.backward()
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _average_gradients(self) -> None:
        gradients = [p.grad for p in self.model.parameters()]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.plan.processes
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def save(self, path: Path, progress: Progress) -> None:
        """Write everything a resumed run needs; the file is whole or absent."""
        state = {
            "plan": asdict(self.plan),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": asdict(progress),
        }
        staged = path.with_suffix(".tmp")
        torch.save(state, staged)
        staged.replace(path)

    def restore(self, path: Path) -> Progress:
        """Continue where `path` was saved."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return Progress(**state["progress"])


class _Clock:
    """Says how fast it goes and when it will be done; saves now and then. Only the first process has one."""

    def __init__(self, plan: Plan, path: Path, progress: Progress) -> None:
        self.plan, self.path = plan, path
        self.begun = self.saved = time.monotonic()
        self.seconds_before, self.tokens_before, self.smooth = progress.seconds, progress.tokens, math.nan

    def tick(self, learner: Learner, progress: Progress, loss: float) -> None:
        now = time.monotonic()
        self.smooth = loss if math.isnan(self.smooth) else 0.98 * self.smooth + 0.02 * loss
        progress.seconds = self.seconds_before + now - self.begun
        if progress.steps % PRINT_EVERY_STEPS == 0:
            speed = (progress.tokens - self.tokens_before) / (now - self.begun)
            left_min = (self.plan.total_tokens - progress.tokens) / speed / 60
            print(
                f"step {progress.steps} tokens {progress.tokens:,} loss {self.smooth:.4f} "
                f"{speed:,.0f} tokens/s, {left_min:.1f} min left",
                flush=True,
            )
        if now - self.saved > SAVE_EVERY_S:
            learner.save(self.path, progress)
            self.saved = now


def _meeting(work: Path, parent_pid: int) -> Path:
    """The file at which the processes of one run find each other."""
    return work / f"meeting-{parent_pid}"


def _work(rank: int, plan: Plan, folder: Path, work: Path, resume: bool) -> None:
    torch.set_num_threads(1)
    meeting = _meeting(work.absolute(), os.getppid())
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=plan.processes)
    words, path = tokenizer.load(folder), work / "checkpoint.pt"
    learner = Learner(plan)
    progress = learner.restore(path) if resume and path.exists() else Progress()
    clock = _Clock(plan, path, progress) if rank == 0 else None
    while progress.tokens < plan.total_tokens:
        todo = batches.shard(plan.seed, progress.shard, progress.shard_start_tokens, words, plan.batch_tokens)
        together = [todo[i : i + plan.processes] for i in range(0, len(todo) - plan.processes + 1, plan.processes)]
        for group in together[progress.shard_steps :]:
            loss = learner.step(group[rank], lr_factor(plan, progress.tokens))
            progress.steps += 1
            progress.shard_steps += 1
            progress.tokens += sum(batch.tokens for batch in group)
            if clock is not None:
                clock.tick(learner, progress, loss)
            if progress.tokens >= plan.total_tokens:
                break
        else:
            progress.shard, progress.shard_steps, progress.shard_start_tokens = progress.shard + 1, 0, progress.tokens
    if clock is not None:
        learner.save(path, progress)
    distributed.destroy_process_group()


def pretrain(plan: Plan, folder: Path, work: Path, *, resume: bool) -> Path:
    """Train with the tokenizer in `folder`; the checkpoint in `work`, whose path is returned, is whole at all times."""
    work.mkdir(parents=True, exist_ok=True)
    multiprocessing.spawn(_work, (plan, folder.absolute(), work.absolute(), resume), nprocs=plan.processes)
    _meeting(work, os.getpid()).unlink(missing_ok=True)
    return work / "checkpoint.pt"
