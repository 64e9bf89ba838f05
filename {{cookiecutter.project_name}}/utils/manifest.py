"""Which samples a run uses, with a fingerprint of them, so that a change of the data is noticed."""

from hashlib import blake2b

import torch

from utils.errors import UserError
from utils.files import read_json
from utils.seed import preserved_random_state, seed_cpu

PROBES = 16


def describe_part(loader):
    """What there is to know again of a BaseDataLoader: its data and who is in which part."""
    valid = loader.valid_sampler
    return {
        "fingerprint": fingerprint(loader.init_kwargs["dataset"]),
        "indices": loader.sampler.indices.tolist(),
        "validation": [] if valid is None else valid.indices.tolist(),
    }


def fingerprint(dataset):
    """A short text that changes with the data.

    That of the data set's own `fingerprint()`, if it has one; else of its length and 16 samples.
    """
    if hasattr(dataset, "fingerprint"):
        return dataset.fingerprint()
    digest = blake2b(str(len(dataset)).encode(), digest_size=16)
    with preserved_random_state():
        for probe in range(PROBES):
            seed_cpu(0)
            for content in _contents(dataset[len(dataset) * probe // PROBES]):
                digest.update(content)
    return digest.hexdigest()


def _contents(value):
    if isinstance(value, (list, tuple, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _contents(one)
    elif isinstance(value, torch.Tensor):
        yield value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    elif hasattr(value, "tobytes"):  # arrays and images
        yield value.tobytes()
    elif isinstance(value, (str, bytes, bool, int, float)):
        yield repr(value).encode()


def check_same(run_dir, part, now):
    """Raise UserError where a part of the data is not what the run began with."""
    path = run_dir / "data.json"
    before = read_json(path).get(part) if path.exists() else None
    if before is None or before == now:
        return
    key = next(key for key in now if now[key] != before.get(key))
    what = "other samples" if key == "fingerprint" else f"another choice of {key}"
    raise UserError(
        f"{path}: the {part} data have changed since, {what}; --allow-data-change goes on with them"
    )
