"""Which samples a run uses, with a fingerprint of them, so that a change of the data is noticed.

They stand in data.json in the run directory. Only a BaseDataLoader can say what its data are.
"""

from contextlib import suppress
from hashlib import blake2b

import torch

import tools
from train import build_test_loader
from utils import distributed
from utils.errors import UserError
from utils.files import read_json, write_json
from utils.seed import preserved_random_state, seed_cpu

PROBES = 16
NAME = "data.json"


class Watcher(tools.Watcher):
    def begin(self, trainer):
        loader, run_dir = getattr(trainer, "data_loader", None), trainer.checkpoint_dir
        data = describe(loader) if hasattr(loader, "valid_sampler") else {}
        refuse_others(data, trainer.config)
        if data and distributed.is_main():
            write_json(noted(run_dir) | data, run_dir / NAME, indent=None)

    def end(self, trainer, how):
        """Note the held-out data. Not before training, as it may take long to read them."""
        if distributed.is_main() and how in ("finished", "stopped early"):
            with suppress(Exception):  # a loader that has no such data; test.py will say so
                data = describe_test(build_test_loader(trainer.config))
                data |= noted(trainer.checkpoint_dir)
                write_json(data, trainer.checkpoint_dir / NAME, indent=None)


def check_test(config, loader):
    """Refuse other held-out data than those that the run had at its end."""
    if hasattr(loader, "valid_sampler"):
        refuse_others(describe_test(loader), config)


def refuse_others(data, config):
    """UserError where the run of `config.resume` has noted other data than these."""
    before = {} if config.resume is None else noted(config.resume.parent)
    changed = next((key for key in data if key in before and data[key] != before[key]), None)
    if changed is not None and not getattr(config.args, "allow_data_change", False):
        is_content = changed.endswith("fingerprint")
        what = "other samples" if is_content else f"another choice for {changed}"
        go_on = "--allow-data-change goes on with them"
        path = config.resume.parent / NAME
        raise UserError(f"{path}: the data have changed since, {what}; {go_on}")


def noted(run_dir):
    path = run_dir / NAME
    return read_json(path) if path.exists() else {}


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
