from utils import distributed
from utils.errors import UserError


def get_device(name="auto"):
    """The device for `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; UserError where it is not there.

    Of several processes each has a GPU of its own.
    """
    import torch

    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available = ["cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count())), *available]
    if name == "auto":
        name = available[0]
    if name not in available:
        raise UserError(f"device {name!r} is not there; this machine has: {', '.join(available)}")
    return distributed.own_device(torch.device(name))


def to_device(batch, device):
    """The same batch with every tensor in its tuples, lists and dicts on `device`."""
    if hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def batch_size(batch):
    """The number of samples in a batch: the length of the first tensor in it."""
    if isinstance(batch, (list, tuple)) and batch and hasattr(batch[0], "shape"):
        return len(batch[0])
    for tensor in tensors_in(batch):
        return len(tensor)
    raise UserError("a batch without tensors: say in Trainer.batch_size how many samples it has")


def tensors_in(batch):
    if hasattr(batch, "shape"):
        yield batch
    elif isinstance(batch, (list, tuple, dict)):
        for part in batch.values() if isinstance(batch, dict) else batch:
            yield from tensors_in(part)
