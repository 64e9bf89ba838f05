"""Random numbers: seeds, and the states of all generators of this process."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
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


# What a data set may draw from: how it is seeded, and how a number is drawn from it.
# (torch.manual_seed takes 100 times as long.)
CPU_GENERATORS = (
    (random.seed, random.random),
    (lambda seed: np.random.seed(seed % 2**32), np.random.random),
    (torch.default_generator.manual_seed, lambda: torch.rand((), dtype=torch.float64).item()),
)
FIRST_NUMBERS = 0.8444218515250481, 0.5488135039273248, 0.9700530018065531  # after seed 0
NUMPY: Any = np.random  # its hints lack some of what is used here
SPARE: list[Any] = []  # NumPy's generators for preserved_random_state: to make one takes long


def seed_cpu(seed: int) -> None:
    """Seed what a data set may draw from, without touching a GPU."""
    for set_seed, _ in CPU_GENERATORS:
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


def set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def preserved_random_state(
    device: torch.device | None = None, is_fast: bool = False
) -> Iterator[None]:
    """Whatever is drawn or seeded inside, the states on the CPU, and `device`, are as before.

    Only if `is_fast`, NumPy forgets the second of a pair of Gaussian numbers.
    """
    gpu = device if device is not None and device.type == "cuda" else None
    of_gpu = None if gpu is None else torch.cuda.get_rng_state(gpu)
    of_numpy = None if is_fast else NUMPY.get_state()
    states = random.getstate(), torch.get_rng_state()
    outside = NUMPY.get_bit_generator()
    NUMPY.set_bit_generator(SPARE.pop() if SPARE else np.random.MT19937())
    np.random.seed(0)
    try:
        yield
    finally:
        random.setstate(states[0])
        SPARE.append(NUMPY.get_bit_generator())
        NUMPY.set_bit_generator(outside)
        if of_numpy is not None and of_numpy[3]:  # such a number, which the exchange drops
            np.random.set_state(of_numpy)
        torch.set_rng_state(states[1])
        if gpu is not None and of_gpu is not None:
            torch.cuda.set_rng_state(of_gpu, gpu)


def seeded_list(sampler: Any, seed: int) -> list[Any]:
    """All that a sampler gives, which follows from the seed, whatever it draws from."""
    with preserved_random_state():
        seed_cpu(seed)
        if (generator := getattr(sampler, "generator", None)) is not None:
            generator.manual_seed(seed)
        return list(sampler)


def seeded_each(things: list[Any], seeds: list[int], used: list[int]) -> Iterator[Any]:
    """Each thing when the generators in `used` are seeded for it; more are added to `used`.

    To seed takes time, so a generator is when the user of a thing is found to have drawn from it.
    """
    others = [i for i in range(len(CPU_GENERATORS)) if i not in used]
    for i in others:
        CPU_GENERATORS[i][0](0)
    seeding: Any = [map(CPU_GENERATORS[i][0], seeds) for i in used]
    # Without a loop in Python, which takes longer
    yield from map(itemgetter(-1), zip(*seeding, things, strict=True))
    used += [i for i in others if CPU_GENERATORS[i][1]() != FIRST_NUMBERS[i]]
