"""A few batches of a loader in its place, as flags that try something take them."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from utils import NO_BATCH
from utils.errors import UserError

COUNTS = ("n_samples_in_batch", "n_samples_mean")  # what a BaseDataLoader says of a batch


class FirstBatches:
    """The first `n` batches of a loader, kept in memory; whatever else is asked, the loader says.

    Raises UserError where the loader gives no batch.
    """

    def __init__(self, loader: Any, n: int) -> None:
        self.loader = loader
        self.batches: list[tuple[Any, dict[str, Any]]] = []  # with the counts of each
        for batch in islice(loader, n):
            counts = {name: getattr(loader, name) for name in COUNTS if hasattr(loader, name)}
            self.batches.append((batch, counts))
        if not self.batches:
            raise UserError(NO_BATCH)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch, counts in self.batches:
            vars(self).update(counts)
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)
