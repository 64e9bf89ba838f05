"""Choosing the device."""

from typing import TYPE_CHECKING

from utils import distributed
from utils.errors import UserError

if TYPE_CHECKING:
    import torch


def get_device(name: str = "auto") -> "torch.device":
    """The device for `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Of several processes each has a GPU of its own. Raises UserError where there is no such device.
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
    if distributed.world_size() == 1:
        return torch.device(name)
    from utils.process_group import own_device

    return own_device(torch.device(name))


def prepare_device(n_gpu_use: int) -> "tuple[torch.device, list[int]]":
    """The device for `n_gpu_use` GPUs and the list of their numbers, as older projects ask."""
    import torch

    device_ids = list(range(min(n_gpu_use or 0, torch.cuda.device_count())))
    return get_device("cuda:0" if device_ids else "cpu"), device_ids
