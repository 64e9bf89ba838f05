"""Samples: which are held out for validation, how many are in a batch, passes without end."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from utils.errors import UserError


def refuse_mistakes(dataset: Any, sampler: Any, options: dict[str, Any]) -> None:
    """Raises UserError for what a BaseDataLoader, or a DataLoader with `options`, cannot do."""
    from torch.utils.data import IterableDataset  # slow, and inf_loop does without

    for name, part in (("data set", dataset), ("sampler", sampler)):
        if not (part is None or isinstance(dataset, IterableDataset) or hasattr(part, "__len__")):
            raise UserError(f"data_loader: the {name}, a {type(part).__name__}, has no length")
    if options.get("timeout") and not options["num_workers"]:
        raise UserError("data_loader: timeout is for workers: num_workers must be 1 or more")


def count_held_out(n_samples: int, split: float) -> int:
    """How many samples go to validation; UserError where it, or training, would have none.

    `split` is a fraction of the samples or, if it is an int, their number.
    """
    if n_samples == 0:
        raise UserError("data_loader: the data set has no samples")
    count = split if type(split) is int else int(n_samples * split)
    if not 0 <= count < n_samples or (split > 0 and count == 0):
        raise UserError(
            f"validation_split = {split}: must be 0, or a fraction or number that leaves at "
            f"least one of the {n_samples} samples on either side"
        )
    return count


def split_indices(n_samples: int, split: float, seed: int) -> tuple[Any, Any]:
    """The indices for training, and those for validation."""
    import torch  # slow, and inf_loop does without

    is_valid = torch.zeros(n_samples, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n_samples, generator=generator)
    is_valid[order[: count_held_out(n_samples, split)]] = True
    return (~is_valid).nonzero().flatten(), is_valid.nonzero().flatten()


T = TypeVar("T")
NO_BATCH = "the data loader gives no batch"
HINT = "override Trainer.batch_size to say how many samples a batch has"


def length_of(data_loader: Any) -> int | None:
    """The batches of a pass over a loader; None where it does not say."""
    try:
        return len(data_loader)
    except TypeError:
        return None


def inf_loop(data_loader: Iterable[T]) -> Iterator[T]:
    """The batches of endless passes over `data_loader`. Raises UserError where two have none.

    One may: of a loader that goes on from a checkpoint, the rest of a pass.
    """
    n_empty = 0
    while n_empty < 2:
        n_empty += 1
        for batch in data_loader:
            n_empty = 0
            yield batch
    raise UserError(NO_BATCH)


def count_samples(batch: Any) -> int:
    """The number of samples in a batch; UserError where its fields do not agree or none tells it.

    A tensor has as many as its first dimension is long, a list or tuple inside of the batch as it
    has elements, packed sequences as many as their first batch size.
    """
    is_tuple = isinstance(batch, (list, tuple)) and not hasattr(batch, "batch_sizes")
    fields = batch.values() if isinstance(batch, Mapping) else batch if is_tuple else [batch]
    lengths = set()
    for field in fields:
        if hasattr(field, "batch_sizes"):  # a PackedSequence
            lengths.add(int(field.batch_sizes[0]))
        elif isinstance(field, (list, tuple)) or getattr(field, "ndim", 0) > 0:
            lengths.add(len(field))
    if len(lengths) != 1:
        found = " or ".join(map(str, sorted(lengths))) or "no tensor in it"
        raise UserError(f"a batch does not tell how many samples it has ({found}): {HINT}")
    return lengths.pop()
