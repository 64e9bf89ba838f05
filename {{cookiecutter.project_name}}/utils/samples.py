"""How many samples a batch has, of a loader that does not say so."""

from collections.abc import Mapping
from typing import Any

from utils.errors import UserError

HINT = "override Trainer.batch_size to say how many samples a batch has"


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
