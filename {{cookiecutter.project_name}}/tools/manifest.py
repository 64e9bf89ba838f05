"""Which samples a run uses, with a fingerprint of them, so that a change of the data is noticed.

They stand in data.json in the run directory. Only a BaseDataLoader can say what its data are.
"""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from base import BaseTrainer, Callback
from base.base_data_loader import MANY
from tools.alone import alone
from utils import distributed
from utils.errors import UserError, as_warning
from utils.files import read_json, write_json
from utils.seed import preserved_random_state, seed_cpu

PROBES = 16
MOST_BYTES = 1e9  # about a second
NAME = "data.json"


class Manifest(Callback):
    """Writes data.json. Refuses to go on with a run, or to test it, with other data than it had."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        loader: Any = getattr(trainer, "data_loader", None)
        run_dir, data = trainer.checkpoint_dir, {}
        if hasattr(loader, "valid_sampler") and loader.n_samples:  # no stream
            with as_warning(trainer.logger, "data: a change will not be noticed"):
                data = describe(loader)
        refuse_others(data, trainer.config)
        if data and distributed.is_main():
            with as_warning(trainer.logger, f"{NAME} is not written"):
                write_json(noted(run_dir) | data, run_dir / NAME, indent=None)

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        """Note the held-out data. Not before training, as it may take long to read them."""
        if distributed.is_main() and outcome in ("finished", "stopped early"):
            run_dir = trainer.checkpoint_dir
            # The loader may have no such data, as test.py will say; old projects have other scripts
            with suppress(Exception), alone(), preserved_random_state():
                from test import build_test_loader

                data = describe_test(build_test_loader(trainer.config)) | noted(run_dir)
                write_json(data, run_dir / NAME, indent=None)

    def on_test_start(self, trainer: BaseTrainer) -> None:
        loader: Any = getattr(trainer, "data_loader", None)
        data = {}
        if hasattr(loader, "valid_sampler") and loader.n_samples:
            with as_warning(trainer.logger, "test data: a change is not noticed"):
                data = describe_test(loader)
        refuse_others(data, trainer.config)


def refuse_others(data: dict[str, Any], config: Any) -> None:
    """Raises UserError where the run of `config.resume` has noted other data than these."""
    before = {} if config.resume is None else noted(config.resume.parent)
    changed = next((key for key in data if key in before and data[key] != before[key]), None)
    if changed is not None and not getattr(config.args, "allow_data_change", False):
        what = "other samples" if changed.endswith("content") else f"another choice for {changed}"
        go_on = "--allow-data-change goes on with them"
        path = config.resume.parent / NAME
        raise UserError(f"{path}: the data have changed since, {what}; {go_on}")


def noted(run_dir: Path) -> dict[str, Any]:
    """What data.json of a run says; nothing where it cannot be read."""
    with suppress(OSError, ValueError):
        return dict(read_json(run_dir / NAME))
    return {}


def describe(loader: Any) -> dict[str, Any]:
    """What there is to know again of a BaseDataLoader: its data, and which are in which part."""
    samplers = {"training": loader.sampler, "validation": loader.valid_sampler}
    parts = {name: getattr(sampler, "indices", None) for name, sampler in samplers.items()}
    indices = {name: None if part is None else listed(part) for name, part in parts.items()}
    how = {"split": loader.split} if hasattr(loader, "split") else {}  # of tools/splits.py
    return {"content": fingerprint(loader.init_kwargs["dataset"]), **how, **indices}


def describe_test(loader: Any) -> dict[str, Any]:
    """The same of the held-out data."""
    return {
        "test_content": fingerprint(loader.dataset),
        "test": listed(range(loader.n_samples)),
    }


def listed(indices: Any) -> list[int] | str:
    """The indices, or how many there are where the loader has no list of them either."""
    if not isinstance(indices, torch.Tensor) and len(indices) > MANY:
        return f"{len(indices)} in a {type(indices).__name__}"
    return torch.as_tensor(indices).tolist()


def fingerprint(dataset: Any) -> str:
    """A short text that changes with the data.

    That of the data set's own `fingerprint()`, if it has one; else of its length, of the numbers
    that it keeps and does not change, as a cache does, and of 16 samples.
    """
    if hasattr(dataset, "fingerprint"):
        return dataset.fingerprint()
    before, samples = [*map(_digest, _kept_in(dataset))], []
    with preserved_random_state():
        for probe in range(PROBES):
            seed_cpu(0)
            samples.append(_digest(dataset[len(dataset) * probe // PROBES]))
    after = {*map(_digest, _kept_in(dataset))}
    return _digest([len(dataset), [one for one in before if one in after], samples])


def _digest(value: Any) -> str:
    digest = blake2b(digest_size=16)
    for content in _contents(value):
        digest.update(content)
    return digest.hexdigest()


def _kept_in(dataset: Any) -> Iterator[Any]:
    """The tensors, arrays and lists of numbers that a data set, or one inside it, has in memory."""
    for value in getattr(dataset, "__dict__", {}).values():
        parts = value if isinstance(value, (list, tuple)) else [value]
        if all(isinstance(one, Dataset) for one in parts):
            for one in parts:
                yield from _kept_in(one)
        elif all(map(_is_numeric, parts)) and not isinstance(value, (int, float)):
            if sum(getattr(one, "nbytes", 8) for one in parts) < MOST_BYTES:
                yield value


def _is_numeric(value: Any) -> bool:
    """Not so text: it may be the paths of files, which can lie elsewhere and be the same."""
    is_array = isinstance(value, np.ndarray) and value.dtype.kind in "biufc"
    return is_array or isinstance(value, (torch.Tensor, np.number, int, float))


def _contents(value: Any) -> Iterator[bytes]:
    """The bytes of all that a sample is made of."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, torch.Tensor) and value.is_nested:
        value = [*value.unbind()]
    if isinstance(value, np.ndarray) and value.dtype == object:  # its bytes are addresses
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _contents(part)
    elif isinstance(value, torch.Tensor):
        yield _bytes_of(value)
    elif hasattr(value, "tobytes"):  # arrays and images
        yield value.tobytes()
    elif isinstance(value, (str, bytes, bool, int, float)):
        yield repr(value).encode()


def _bytes_of(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor in the order of its indices, whatever its type, layout and device."""
    tensor = tensor.detach().cpu()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    tensor = tensor.as_subclass(torch.Tensor).resolve_conj().resolve_neg().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
