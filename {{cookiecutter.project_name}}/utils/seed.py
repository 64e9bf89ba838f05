"""Random numbers: seeds, the states of all generators of this process, the random split."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from utils.errors import UserError


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch; `deterministic` also forbids operations that are not."""
    seed_cpu(seed)
    torch.manual_seed(seed)  # the GPU too
    if deterministic != torch.are_deterministic_algorithms_enabled():  # to set it takes a second
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic


# What a data set may draw from: how to seed it, how to draw, and what comes first after seed 0
SEED_TORCH = torch.default_generator.manual_seed  # torch.manual_seed takes 100 times as long
CPU_GENERATORS = (
    (random.seed, random.random, 0.8444218515250481),
    (lambda seed: np.random.seed(seed % 2**32), np.random.random, 0.5488135039273248),
    (SEED_TORCH, lambda: torch.rand((), dtype=torch.double).item(), 0.9700530018065531),
)


def seed_cpu(seed: int) -> None:
    """Seed what a data set may draw from, without touching a GPU."""
    for set_seed, _, _ in CPU_GENERATORS:
        set_seed(seed)


def get_random_state() -> dict[str, Any]:
    """The random states of this process, as tensors and plain types."""
    of_numpy: Any = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [of_numpy[0], of_numpy[1].tolist(), *of_numpy[2:]],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


@contextmanager
def preserved_random_state(device: torch.device | None = None) -> Iterator[None]:
    """Whatever is drawn or seeded inside, the states on the CPU, and `device`, are as before."""
    gpus = [device] if device is not None and device.type == "cuda" else []
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def count_held_out(n_samples: int, split: float) -> int:
    """How many samples go to validation; UserError where it, or training, would have none.

    `split` is a fraction of the samples or, if it is an int, their number.
    """
    if n_samples == 0:
        raise UserError("data_loader: the data set has no samples")
    count = split if type(split) is int else int(n_samples * split)
    if not 0 <= count < n_samples or (split > 0 and count == 0):
        what = f"must be 0, or leave at least one of the {n_samples} samples on either side"
        raise UserError(f"validation_split = {split}: {what}")
    return count


def split_indices(n_samples: int, split: float, seed: int) -> tuple[Any, Any]:
    """The indices for training, and those for validation."""
    is_valid = torch.zeros(n_samples, dtype=torch.bool)
    order = torch.randperm(n_samples, generator=torch.Generator().manual_seed(seed))
    is_valid[order[: count_held_out(n_samples, split)]] = True
    return (~is_valid).nonzero().flatten(), is_valid.nonzero().flatten()
