"""Which samples are held out for validation, other than at random: by label, group, time or list.

In a config, `"type": "tools.splits.<loader>"` with `split` among the `args` is the loader of that
name in data_loader/data_loaders.py, split so: "stratified", {"grouped": KEY}, "chronological", or
{"indices": FILE}. A KEY is an attribute of the data set, or a key of the samples, which are dicts.
"""

import logging
from collections import Counter
from typing import Any

import torch

from tools.folds import OwnSplit, in_parts, labels_of, values_of
from utils.errors import UserError
from utils.files import project_path, read_config
from utils.seed import count_held_out

VALID = '"stratified", "chronological", {"grouped": KEY} or {"indices": FILE}'


def __getattr__(name: str) -> Any:
    """The loader of a name, with a split of its own."""
    return in_parts(name, InSplit)


class InSplit(OwnSplit):
    """Put before a loader's class: takes `split`, and makes it."""

    def __init__(self, *args: Any, split: str | dict[str, str], **options: Any) -> None:
        given: Any = split if isinstance(split, dict) else {split: None}
        self.split, self.how = split, next(iter(given), "")
        self.key: Any = given.get(self.how)
        needs_key = self.how in ("grouped", "indices")
        if (
            len(given) != 1
            or self.how not in SPLITS
            or (needs_key and not isinstance(self.key, str))
        ):
            raise UserError(f"data_loader.args.split = {split!r}: must be {VALID}")
        super().__init__(*args, **options)

    def parts(self, dataset: Any, split: float) -> tuple[torch.Tensor, torch.Tensor]:
        n, seed = len(dataset), self.split_seed
        n_valid = count_held_out(n, split)  # refuses what leaves no sample
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
        valid = SPLITS[self.how](dataset, self.key, n_valid, order)
        held_out = torch.zeros(n, dtype=torch.bool)
        if self.how == "indices":
            train, valid = (torch.tensor(one).sort().values for one in valid)
        else:
            held_out[valid] = True
            train, valid = (mask.nonzero().flatten() for mask in (~held_out, held_out))
        by = f" by {self.key}" if self.key else ""
        line = "%s%s: %d samples for training, %d for validation"
        logging.getLogger("train").info(line, self.how, by, len(train), len(valid))
        return train, valid


def stratified(dataset: Any, key: Any, n_valid: int, order: list[int]) -> list[int]:
    """The same share of each class."""
    labels = labels_of(dataset) if key is None else values_of(dataset, key, "stratified")
    if labels is None:
        raise UserError('data_loader.args.split = "stratified": the samples have no labels')
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    by_label, n = sorted(order, key=lambda index: numbers[labels[index]]), len(order)
    valid = [by_label[i] for i in range(n) if (i + 1) * n_valid // n > i * n_valid // n]
    held_out = Counter(labels[index] for index in valid)
    if left_out := [str(label) for label in numbers if not held_out[label]]:
        line = "split: too few samples to validate on for the classes %s"
        logging.getLogger("train").warning(line, ", ".join(left_out))
    return valid


def grouped(dataset: Any, key: str, n_valid: int, order: list[int]) -> list[int]:
    """Groups at random, until there are so many samples; no group is on both sides."""
    groups = values_of(dataset, key, "grouped")
    members: dict[Any, list[int]] = {}
    for index in order:
        members.setdefault(groups[index], []).append(index)
    valid: list[int] = []
    for group in members.values():
        valid += group if len(valid) + len(group) <= n_valid else []
    if not valid:
        smallest = min(map(len, members.values()))
        reason = (
            f"each group by {key} has {smallest} samples or more, and {n_valid} are to be held out"
        )
        raise UserError(f"data_loader.args.split: {reason}")
    return valid


def chronological(dataset: Any, key: Any, n_valid: int, order: list[int]) -> list[int]:
    """The latest samples; without a key they are in the order of time."""
    n = len(order)
    times = range(n) if key is None else values_of(dataset, key, "chronological")
    return sorted(range(n), key=lambda index: times[index])[n - n_valid :]


def indices(dataset: Any, key: str, n_valid: int, order: list[int]) -> Any:
    """Those for training and for validation in a JSON file; without the former, all others."""
    path, n = project_path(key), len(order)
    given = read_config(path)
    valid = checked(given.get("validation"), f"{path}: validation", n)
    others = sorted({*range(n)}.difference(valid))
    train = checked(given.get("training", others), f"{path}: training", n)
    if both := {*train} & {*valid}:
        raise UserError(f"{path}: sample {min(both)} is in training and in validation")
    return train, valid


def checked(given: Any, what: str, n: int) -> list[int]:
    """A list of indices. Raises UserError where it is not one."""
    is_list = isinstance(given, list) and all(type(index) is int for index in given)
    if not (is_list and given and len(set(given)) == len(given)):
        raise UserError(f"{what}: must be a list of different indices of samples")
    if not 0 <= min(given) <= max(given) < n:
        raise UserError(f"{what}: there are {n} samples, from 0 to {n - 1}")
    return given


SPLITS: dict[str, Any] = {
    one.__name__: one for one in (stratified, grouped, chronological, indices)
}
