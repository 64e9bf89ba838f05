"""How many samples a batch has, for data loaders that do not say it."""

from collections.abc import Mapping
from typing import Any

from utils.errors import UserError

HINT = "override Trainer.batch_size to say how many samples a batch has"


def count_samples(batch: Any) -> int:
    """The number of samples in a batch, where all of its fields agree on it.

    A tensor has as many as its first dimension is long, a list or tuple of tensors inside a field
    as it has elements, packed sequences as many as their first batch size. Raises UserError where
    the fields do not agree or there are none.
    """
    if hasattr(batch, "shape") or hasattr(batch, "batch_sizes"):
        fields = {"0": batch}
    elif isinstance(batch, Mapping):
        fields = {str(key): value for key, value in batch.items()}
    elif hasattr(batch, "_fields"):
        fields = dict(zip(batch._fields, batch, strict=True))
    elif isinstance(batch, (list, tuple)):
        fields = {str(index): value for index, value in enumerate(batch)}
    else:
        raise UserError(f"a batch is a {type(batch).__name__}: {HINT}")
    lengths = {name: n for name, value in fields.items() if (n := length_of(value)) is not None}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{name}: {n}" for name, n in lengths.items()) or "no tensor in it"
        raise UserError(f"a batch whose fields do not agree on its samples ({found}): {HINT}")
    return next(iter(lengths.values()))


def length_of(field: Any) -> int | None:
    """The samples in one field of a batch; None where it does not tell."""
    if hasattr(field, "batch_sizes"):  # a PackedSequence
        return int(field.batch_sizes[0])
    if hasattr(field, "shape"):
        return len(field) if len(field.shape) else None
    return len(field) if isinstance(field, (list, tuple)) else None
