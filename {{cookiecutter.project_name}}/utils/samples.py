"""How many samples a batch has, how many batches a loader gives, and passes without end."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from utils.errors import UserError

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
