"""Random numbers: seeds, and the states of all generators of this process."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


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
NUMPY: Any = np.random  # its hints lack some of what is used here
SPARE: list[Any] = []  # NumPy's generators for preserved_random_state: to make one takes long


def seed_cpu(seed: int) -> None:
    """Seed what a data set may draw from, without touching a GPU."""
    for set_seed, _, _ in CPU_GENERATORS:
        set_seed(seed)


def get_random_state() -> dict[str, Any]:
    """The random states of this process, as tensors and plain types."""
    name, keys, *rest = NUMPY.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, keys.tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


@contextmanager
def preserved_random_state(device: torch.device | None = None) -> Iterator[None]:
    """Whatever is drawn or seeded inside, the states on the CPU, and `device`, are as before.

    Only NumPy forgets the second of a pair of Gaussian numbers: to keep it takes long.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    of_python, of_numpy = random.getstate(), NUMPY.get_bit_generator()
    NUMPY.set_bit_generator(SPARE.pop() if SPARE else np.random.MT19937())
    np.random.seed(0)
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        random.setstate(of_python)
        SPARE.append(NUMPY.get_bit_generator())
        NUMPY.set_bit_generator(of_numpy)
