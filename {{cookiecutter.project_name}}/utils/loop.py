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
    n_empty = 0
    while n_empty < 2:
        n_empty += 1
        for batch in data_loader:
            n_empty = 0
            yield batch
    raise UserError(NO_BATCH)
