"""The order of samples that are too many for a list, and which of them are held out."""

from hashlib import blake2b
from math import isqrt
from typing import Any

import numpy as np
import torch

from base import Callback
from base.sampler import EpochSampler
from utils.seed import count_held_out, split_indices

ROUNDS = 6
BLOCK = 4096  # numbers are computed ahead, as it takes long for each alone


class ManySamples(Callback):
    """Lets a run go on with the order that it began with."""

    def on_checkpoint_load(self, trainer: Any, state: dict[str, Any]) -> None:
        """A run that began with lists, without this file, keeps its order and its split."""
        loader, of_run = getattr(trainer, "data_loader", None), state.get("data_loader") or {}
        if isinstance(getattr(loader, "sampler", None), ManySampler):
            keep_order(loader, of_run.get("order", "randperm"))


def parts_of_many() -> tuple[Any, Any]:
    """For a BaseDataLoader of many samples: what splits them, and the class of the samplers."""
    return split_many, ManySampler


def keep_order(loader: Any, order: str) -> None:
    """Let a loader have the order and the split of that name, in its samplers."""
    split = split_many if order == "feistel" else split_indices
    parts = split(len(loader.dataset), loader.validation_split, loader.split_seed)
    for sampler, indices in zip((loader.sampler, loader.valid_sampler), parts, strict=True):
        if sampler is not None:
            sampler.indices, sampler.order_name = indices, order


def split_many(n_samples: int, split: float, seed: int) -> tuple[Any, Any]:
    """As split_indices, without a list."""
    if (count := count_held_out(n_samples, split)) == 0:
        return range(n_samples), range(0)
    return Permutation(n_samples, seed, start=count), Permutation(n_samples, seed, stop=count)


class ManySampler(EpochSampler):
    """A sampler of a range or a Permutation, of which no list is made."""

    order_name = "feistel"

    def __init__(self, indices: Any, shuffle: bool) -> None:
        self.indices, self.shuffle = indices, shuffle

    def order(self) -> Any:
        if self.order_name != "feistel" or not self.shuffle:
            return super().order()
        return Permutation(len(self.indices), self.seed, of=self.indices)


class Permutation:
    """The numbers from 0 to n - 1 in an order that follows from a seed; `numbers[a:b]` is a tensor.

    A number is computed from its position, by a Feistel network on pairs of digits with cycle
    walking (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). `start` and `stop`
    cut the order; with `of` it is that of the elements of another Permutation.
    """

    def __init__(
        self, n: int, seed: int, of: Any = None, start: int = 0, stop: int | None = None
    ) -> None:
        self.n, self.of = n, of
        self.positions = range(n)[start:stop]
        self.base = isqrt(n - 1) + 1  # a number is a pair of digits
        key = blake2b(seed.to_bytes(8, "little"), digest_size=8 * ROUNDS).digest()
        self.keys = np.frombuffer(key, np.uint64)
        self.block, self.block_start = torch.empty(0, dtype=torch.int64), 0

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, part: slice) -> torch.Tensor:
        start, stop, _ = part.indices(len(self))
        if not self.block_start <= start <= stop <= self.block_start + len(self.block):
            ahead = self.positions[start : max(stop, start + BLOCK)]
            numbers = self.at(np.arange(ahead.start, ahead.stop, dtype=np.uint64))
            self.block, self.block_start = torch.from_numpy(numbers.astype(np.int64)), start
        return self.block[start - self.block_start : stop - self.block_start]

    def at(self, positions: np.ndarray) -> np.ndarray:
        """The numbers at some positions, as uint64."""
        numbers = self._encrypt(positions)
        while (outside := numbers >= self.n).any():  # rare: the pairs are few more than n
            numbers[outside] = self._encrypt(numbers[outside])
        if isinstance(self.of, Permutation):
            return self.of.at(numbers + np.uint64(self.of.positions.start))
        return numbers

    def _encrypt(self, numbers: np.ndarray) -> np.ndarray:
        """Another pair for each pair of digits, one to one."""
        base, half = np.uint64(self.base), np.uint64(32)
        high = numbers // base
        low = numbers - high * base
        for key in self.keys:
            mixed = (low ^ key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> half)) * np.uint64(0xD6E8FEB86659FD93)
            total = high + ((((mixed ^ (mixed >> half)) >> half) * base) >> half)
            high, low = low, total - base * (total >= base)
        return high * base + low
