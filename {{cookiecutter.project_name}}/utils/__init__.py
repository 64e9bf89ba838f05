"""One subject a file; here is what code from older projects imports from `utils`."""

from collections.abc import Iterable, Iterator
from typing import Any

from utils.errors import UserError
from utils.files import ensure_dir, read_json, write_json
from utils.meter import MetricTracker

__all__ = ["MetricTracker", "ensure_dir", "inf_loop", "prepare_device", "read_json", "write_json"]

NO_BATCH = "the data loader gives no batch"


def inf_loop(data_loader: Iterable[Any]) -> Iterator[Any]:
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


def prepare_device(n_gpu_use: int) -> tuple[Any, list[int]]:
    """The device for `n_gpu_use` GPUs and the list of their numbers, as older projects ask."""
    import torch  # which takes a second

    from utils.device import get_device

    device_ids = list(range(min(n_gpu_use or 0, torch.cuda.device_count())))
    return get_device("cuda:0" if device_ids else "cpu"), device_ids
