"""Muon for many small matrices at once: momentum whose steps are made orthogonal by Newton-Schulz iterations.

Promises the update of K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). Matrices of
one shape are stacked and orthogonalised in one batched bfloat16 product, and the processes share the matrices out:
on a CPU the whole step costs a twentieth of the gradient instead of a quarter.
"""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def orthogonalised(stack: Tensor) -> Tensor:
    """Each matrix of `stack` [n, rows, columns] with all its singular values brought near one."""
    a, b, c = _COEFFICIENTS
    tall = stack.shape[1] > stack.shape[2]
    x = stack.transpose(1, 2) if tall else stack
    x = (x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)).bfloat16()
    for _ in range(_ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonal steps scaled by sqrt(max(1, rows / columns)), decoupled weight decay.

    Every process of the group must step with equal gradients; each orthogonalises its share and all get the sum.
    """

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One update of every matrix from its gradient."""
        for group in self.param_groups:
            stacks: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                stacks[matrix.shape].append(matrix)
            updates = [self._share(matrices, group["momentum"]) for matrices in stacks.values()]
            flat = torch.cat([update.flatten() for update in updates])
            distributed.all_reduce(flat)
            for matrices, part in zip(stacks.values(), flat.split([u.numel() for u in updates]), strict=True):
                rows, columns = matrices[0].shape
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                for matrix, update in zip(matrices, part.view(-1, rows, columns), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)

    def _share(self, matrices: list[Tensor], momentum: float) -> Tensor:
        """The updates of this process's share of `matrices`, stacked; zeros where another process's are."""
        mine = slice(distributed.get_rank(), None, distributed.get_world_size())
        looks = torch.stack([self._look_ahead(matrix, momentum) for matrix in matrices])
        updates = torch.zeros_like(looks)
        updates[mine] = orthogonalised(looks[mine])
        return updates

    def _look_ahead(self, matrix: Tensor, momentum: float) -> Tensor:
        assert matrix.grad is not None, "every matrix takes part in the loss"
        velocity: Tensor = self.state[matrix].setdefault("velocity", torch.zeros_like(matrix))
        velocity.mul_(momentum).add_(matrix.grad)
        return matrix.grad + momentum * velocity
