"""Which samples a run uses, with a fingerprint of them, so that a change of the data is noticed."""

from hashlib import blake2b

import torch

from utils.errors import UserError
from utils.files import read_json
from utils.seed import preserved_random_state, seed_cpu

PROBES = 16


def describe(loader):
    """What there is to know again of a BaseDataLoader: its data and who is in which part."""
    dataset = getattr(loader, "init_kwargs", {}).get("dataset", loader.dataset)
    samplers = {"training": loader.sampler, "validation": loader.valid_sampler}
    parts = {name: getattr(one, "indices", None) for name, one in samplers.items()}
    return {
        "fingerprint": fingerprint(dataset),
        **{
            name: None if one is None else torch.as_tensor(one).tolist()
            for name, one in parts.items()
        },
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
        yield value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif hasattr(value, "tobytes"):  # arrays and images
        yield value.tobytes()
    elif isinstance(value, (str, bytes, bool, int, float)):
        yield repr(value).encode()


def check_same(path, now):
    """Raise UserError where the data are not those that the manifest at `path` describes."""
    before = read_json(path) if path.exists() else now
    if key := next((key for key in now if now[key] != before.get(key)), None):
        what = "other samples" if key == "fingerprint" else f"another choice for {key}"
        go_on = "--allow-data-change goes on with them"
        raise UserError(f"{path}: the data have changed since, {what}; {go_on}")
