"""Which samples a run uses, with a fingerprint of them, so that a change of the data is noticed."""

from contextlib import suppress
from hashlib import blake2b

import torch

from utils.errors import UserError
from utils.files import read_json, write_json
from utils.seed import preserved_random_state, seed_cpu

PROBES = 16
NAME = "data.json"


def check(config, loader, is_test=False):
    """Refuse other data than the run of `config.resume` began with. Returns what data.json says.

    Only a BaseDataLoader can say what its data are.
    """
    if not hasattr(loader, "valid_sampler"):
        return {}
    now = describe_test(loader) if is_test else describe(loader)
    path = None if config.resume is None else config.resume.parent / NAME
    before = read_json(path) if path is not None and path.exists() else {}
    changed = next((key for key in now if key in before and now[key] != before[key]), None)
    if changed is not None and not config.allow_data_change:
        is_content = changed.endswith("fingerprint")
        what = "other samples" if is_content else f"another choice for {changed}"
        go_on = "--allow-data-change goes on with them"
        raise UserError(f"{path}: the data have changed since, {what}; {go_on}")
    return before | now


def note_test(config, make_loader):
    """Add the held-out data to data.json. Not before training, as it may take long to read them."""
    with suppress(Exception):  # a loader that has no such data; test.py will say so
        data = describe_test(make_loader()) | config.data
        write_json(data, config.save_dir / NAME, indent=None)


def describe(loader):
    """What there is to know again of a BaseDataLoader: its data and who is in which part."""
    dataset = loader.init_kwargs["dataset"]
    samplers = {"training": loader.sampler, "validation": loader.valid_sampler}
    parts = {name: getattr(one, "indices", None) for name, one in samplers.items()}
    indices = {k: None if v is None else torch.as_tensor(v).tolist() for k, v in parts.items()}
    return {"fingerprint": fingerprint(dataset), **indices}


def describe_test(loader):
    return {"test_fingerprint": fingerprint(loader.dataset), "test": list(range(loader.n_samples))}


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
