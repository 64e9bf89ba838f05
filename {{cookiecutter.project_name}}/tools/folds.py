"""Cross-validation: a data loader whose validation set is one of k folds of its training data.

In a config, `"type": "tools.folds.<loader>"` with `fold` and `folds` among the `args` is the loader
of that name in data_loader/data_loaders.py, split so; sweep.py writes that. The folds have the same
share of each class where the samples have labels. A loader keeps samples together with
`group_key = "patient"`: an attribute of its data set, or a key of the samples, which are dicts.
With `stratify = False`, it leaves labels out.
"""

import logging
from collections import Counter
from inspect import isclass
from typing import Annotated, Any

import torch
from torch.utils.data import ConcatDataset, IterableDataset, Subset, TensorDataset

from base import BaseDataLoader
from base.sampler import EpochSampler
from utils.check import Range, nearest
from utils.errors import UserError
from utils.seed import preserved_random_state

LABELS = ("targets", "labels", "target", "label")  # attributes of data sets, and keys of samples


def __getattr__(name: str) -> Any:
    """The loader of a name, split into folds."""
    return in_parts(name, InFolds)


def in_parts(name: str, split: type["OwnSplit"]) -> Any:
    """The loader of a name in data_loader/data_loaders.py, with another split than its own."""
    try:
        from data_loader import data_loaders
    except ImportError as error:  # of a project that has no such file
        raise AttributeError(str(error)) from None
    loader: Any = getattr(data_loaders, name, None)
    if not is_loader(loader):
        if name.startswith("_"):  # Python itself asks for some
            raise AttributeError(name)
        names = [key for key, one in vars(data_loaders).items() if is_loader(one)]
        what = f"there is no BaseDataLoader {name!r} in data_loader.data_loaders"
        raise UserError(f"{what}; {nearest(name, names)}")
    return type(name, (split, loader, KeepsDataset), {"__doc__": loader.__doc__})


def is_loader(found: Any) -> bool:
    return isclass(found) and issubclass(found, BaseDataLoader) and found is not BaseDataLoader


class OwnSplit:
    """Put before a loader's class: makes the split that `parts` says."""

    dataset_to_split: Any = None
    n_samples: int
    shuffle: bool
    split_seed: int

    def parts(self, dataset: Any, split: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The indices for training, and those for validation."""
        raise NotImplementedError

    def _split_sampler(self, split: float) -> tuple[Any, Any]:
        if not split:  # the test data
            return super()._split_sampler(split)  # type: ignore[misc]
        if self.dataset_to_split is None:
            name = type(self).__name__
            raise UserError(f"split: {name} calls BaseDataLoader.__init__ by name, not by super()")
        train, valid = self.parts(self.dataset_to_split, split)
        self.n_samples = len(train)
        return EpochSampler(train, self.shuffle), EpochSampler(valid, False)


class InFolds(OwnSplit):
    """Takes `fold` and `folds`."""

    def __init__(
        self,
        *args: Any,
        fold: Annotated[int, Range(0)],
        folds: Annotated[int, Range(2)],
        **options: Any,
    ) -> None:
        if fold >= folds:
            raise UserError(f"data_loader.args.fold = {fold}: must be below folds = {folds}")
        self.fold, self.folds = fold, folds
        super().__init__(*args, **options)

    def parts(self, dataset: Any, split: float) -> tuple[torch.Tensor, torch.Tensor]:
        held_out = find_folds(dataset, self.folds, self) == self.fold
        return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


class KeepsDataset(BaseDataLoader):
    """Put between a loader's class and BaseDataLoader: sees the data set before the split."""

    def __init__(self, dataset: Any, *args: Any, **options: Any) -> None:
        if isinstance(dataset, IterableDataset):
            raise UserError(
                f"data_loader: a {type(dataset).__name__} is a stream: nothing to split"
            )
        self.dataset_to_split = dataset
        super().__init__(dataset, *args, **options)


def find_folds(dataset: Any, folds: int, loader: Any) -> torch.Tensor:
    """(N,) the fold of each sample, as a function of the data and the loader's `split_seed`.

    Raises UserError where there are too many folds.
    """
    n, key = len(dataset), getattr(loader, "group_key", None)
    labels = labels_of(dataset) if getattr(loader, "stratify", True) else None
    groups = None if key is None else values_of(dataset, key, "group_key")
    if n < folds:
        raise UserError(f"folds = {folds}: there are {n} samples")
    if groups is not None and (n_groups := len(set(groups))) < folds:
        raise UserError(f"folds = {folds}: there are {n_groups} groups by {key}")
    for label, count in sorted(Counter(labels or ()).items(), key=lambda pair: pair[1]):
        if count < folds:
            hint = "stratify = False in the loader leaves labels out"
            raise UserError(f"folds = {folds}: class {label} has {count} samples; {hint}")
    how = f", by label ({len(set(labels))} classes)" if labels else ", without labels"
    how += "" if groups is None else f", grouped by {key}"
    logging.getLogger("train").info("%d folds of %d samples%s", folds, n, how)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(loader.split_seed)).tolist()
    labels = labels or [0] * n
    if groups is not None:
        return deal_groups(order, labels, groups, folds)
    fold_of = torch.empty(n, dtype=torch.long)
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    by_label = sorted(order, key=lambda index: numbers[labels[index]])
    fold_of[by_label] = torch.arange(n) % folds
    return fold_of


def deal_groups(order: list[int], labels: Any, groups: Any, folds: int) -> torch.Tensor:
    """Give groups to folds, large ones first, each to where its classes are fewest so far."""
    members: dict[Any, list[int]] = {}
    for index in order:
        members.setdefault(groups[index], []).append(index)
    counts = [Counter[Any]() for _ in range(folds)]  # samples of each class
    totals = Counter(labels)
    fold_of = torch.empty(len(order), dtype=torch.long)
    for group in sorted(members.values(), key=len, reverse=True):
        own = Counter(labels[index] for index in group)
        # What each fold's sum of squared shares of the classes would grow by
        growth = [sum(n * (2 * c[x] + n) / totals[x] for x, n in own.items()) for c in counts]
        best = growth.index(min(growth))
        counts[best].update(own)
        fold_of[group] = best
    return fold_of


def labels_of(dataset: Any) -> list[Any] | None:
    """The class of each sample; None where samples have none.

    Where the data set has no `targets` or `labels`, its samples are read, which may take long.
    """
    if isinstance(dataset, Subset):
        labels = labels_of(dataset.dataset)
        return labels and [labels[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        parts = [labels_of(part) for part in dataset.datasets]
        return None if None in parts else [label for part in parts for label in part or ()]
    known: list[Any] = [getattr(dataset, name, None) for name in LABELS]
    known += [dataset.tensors[-1]] if isinstance(dataset, TensorDataset) else []
    for values in known:
        values = values.tolist() if hasattr(values, "tolist") else values
        if isinstance(values, (list, tuple)) and len(values) == len(dataset):
            return [*values] if all(isinstance(one, (int, str)) for one in values) else None
    with preserved_random_state():
        if label_in(dataset[0]) is None:
            return None
        return [label_in(dataset[index]) for index in range(len(dataset))]


def label_in(sample: Any) -> Any:
    """The class in a pair (input, class), or in a dict under a usual name; None without."""
    if isinstance(sample, dict):
        sample = (None, next((sample[name] for name in LABELS if name in sample), None))
    label: Any = sample[-1] if isinstance(sample, (tuple, list)) and len(sample) > 1 else None
    label = label.item() if getattr(label, "ndim", None) == 0 else label
    return label if isinstance(label, (int, str)) else None


def values_of(dataset: Any, key: str, what: str) -> list[Any]:
    """What each sample has by that name. Raises UserError where the data set does not tell."""
    values = getattr(dataset, key, None)
    if values is None and isinstance(sample := dataset[0], dict) and key in sample:
        with preserved_random_state():
            values = [dataset[index][key] for index in range(len(dataset))]
    if values is None or len(values) != len(dataset):
        where = "attribute of the data set with a value for each sample, and no key of its samples"
        raise UserError(f"data_loader: {what} = {key!r}: is no {where}")
    return [value.item() if hasattr(value, "item") else value for value in values]
