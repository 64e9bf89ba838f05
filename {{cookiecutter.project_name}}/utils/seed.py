import os
import random
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch


def derive_seed(*numbers):
    """One 64-bit seed from several numbers; (1, 2) and (2, 1) give unrelated ones."""
    digest = blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def seed_everything(seed, deterministic=False):
    """Seed Python, NumPy and torch; `deterministic` also forbids operations that are not."""
    seed_cpu(seed)
    torch.manual_seed(seed)
    if deterministic != torch.are_deterministic_algorithms_enabled():  # to set it takes a second
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic


def seed_rank(seed, rank):
    """Let each of several processes draw its own numbers, in dropout for example."""
    if rank > 0:
        seed_cpu(derive_seed(seed, rank))
        torch.manual_seed(derive_seed(seed, rank))


# What a data set may draw from: how it is seeded, and how a number is drawn from it.
# (torch.manual_seed takes 100 times as long.)
CPU_GENERATORS = (
    (random.seed, random.random),
    (lambda seed: np.random.seed(seed % 2**32), np.random.random),
    (torch.default_generator.manual_seed, lambda: torch.rand((), dtype=torch.float64).item()),
)
SPARE = []  # NumPy's generators for preserved_random_state: to make one takes long


def seed_cpu(seed):
    for set_seed, _ in CPU_GENERATORS:
        set_seed(seed)


def get_random_state():
    """The random states of this process, as tensors and plain types."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, keys.tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


def set_random_state(state):
    random.setstate(state["python"])
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def preserved_random_state():
    """Whatever is drawn or seeded inside, the states on the CPU are afterwards as before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    outside = np.random.get_bit_generator()
    np.random.set_bit_generator(SPARE.pop() if SPARE else np.random.MT19937())
    np.random.seed(0)
    try:
        yield
    finally:
        random.setstate(states[0])
        SPARE.append(np.random.get_bit_generator())
        np.random.set_bit_generator(outside)
        if states[1][3]:  # half of a pair of Gaussian numbers, which the exchange drops
            np.random.set_state(states[1])
        torch.set_rng_state(states[2])
