"""Iterators of the training loop."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from utils.errors import UserError

T = TypeVar("T")
NO_BATCH = "the data loader gives no batch"


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
    was_empty = False
    while True:
        is_empty = True
        for batch in data_loader:
            is_empty = False
            yield batch
        if is_empty and was_empty:
            raise UserError(NO_BATCH)
        was_empty = is_empty
