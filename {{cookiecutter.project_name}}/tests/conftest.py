import pytest
import torch

from parse_config import ConfigParser, default_config
from train import build_trainer

torch.set_num_threads(1)  # small steps are slower, and not repeatable, with more


@pytest.fixture
def make_config(tmp_path):
    """The project's own config for a few short epochs below tmp_path, with changes."""

    def make(changes=None, **kwargs):
        short = {"trainer.save_dir": str(tmp_path / "saved"), "trainer.epochs": 2}
        short |= {"trainer.len_epoch": 4, "trainer.tensorboard": False, "device": "cpu"}
        path = default_config()
        return ConfigParser.from_file(path, short | (changes or {}), **kwargs)

    return make


@pytest.fixture
def make_trainer(make_config):
    return lambda changes=None, **kwargs: build_trainer(make_config(changes, **kwargs))
