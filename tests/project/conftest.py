import os
from functools import partial
from pathlib import Path

import pytest
import torch

import digits_example
from helpers import ENVIRONMENT, TORCHRUN, python
from parse_config import ConfigParser
from train import build_trainer
from utils.files import PROJECT_DIR

torch.set_num_threads(1)  # small steps are slower, and not repeatable, with more


@pytest.fixture
def example_parts(monkeypatch):
    """While a test runs, a config can name the parts in digits_example.py."""
    digits_example.install(partial(monkeypatch.setattr, raising=False))


DEVICE = os.environ.get("TEST_DEVICE", "cpu")


@pytest.fixture
def make_config(tmp_path, example_parts):
    """The config in digits_example.json, with changes, for short runs below tmp_path."""

    def make(changes=None, **kwargs):
        short = {
            "trainer.save_dir": str(tmp_path / "saved"),
            "trainer.epochs": 2,
            "trainer.len_epoch": 4,
            "trainer.tensorboard": False,
            "trainer.report": False,
            "device": DEVICE,
            "deterministic": DEVICE != "cpu",
        }
        return ConfigParser.from_file(digits_example.CONFIG, short | (changes or {}), **kwargs)

    return make


@pytest.fixture
def in_two_processes(tmp_path):
    """Run a script by torchrun; what it printed. It can import the project and its tests."""

    def run(source, *arguments):
        script = tmp_path / "script.py"
        script.write_text(source, encoding="utf-8")
        path = os.pathsep.join([str(PROJECT_DIR), str(Path(__file__).parent)])
        done = python(*TORCHRUN, script, *arguments, env=ENVIRONMENT | {"PYTHONPATH": path})
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def make_trainer(make_config):
    return lambda changes=None, **kwargs: build_trainer(make_config(changes, **kwargs))
