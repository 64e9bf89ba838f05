"""Your project works: its config, data, model and loop, a stop and a resume.

Nothing here knows what the model or the data are: all is built as the config says.
"""

import csv
import subprocess
import sys

import pytest
import torch

from parse_config import ConfigParser, default_config
from train import build_trainer
from utils.files import PROJECT_DIR

torch.set_num_threads(1)  # small steps are slower, and not repeatable, with more


@pytest.fixture
def make_trainer(tmp_path):
    """What trains as the project's own config says, for two short epochs below tmp_path."""
    short = {"trainer.save_dir": str(tmp_path / "saved"), "trainer.epochs": 2}
    short |= {"trainer.len_epoch": 4, "trainer.tensorboard": False, "device": "cpu"}
    return lambda resume=None: build_trainer(
        ConfigParser.from_file(default_config(), short, resume=resume)
    )


def run_script(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True)


def test_validation_data_are_not_trained_on(make_trainer):
    loader = make_trainer().data_loader
    if loader.valid_sampler is None:
        pytest.skip("the config splits off no validation data")
    assert not {*loader.sampler.indices} & {*loader.valid_sampler.indices}


def test_an_epoch_is_logged_and_saved(make_trainer):
    trainer = make_trainer()
    trainer.train()
    with (trainer.checkpoint_dir / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert trainer.mnt_metric in rows[0] or trainer.mnt_mode == "off"
    assert (trainer.checkpoint_dir / "last.pth").exists()


def test_a_resumed_run_ends_with_the_same_weights(make_trainer):
    straight = make_trainer()
    straight.train()
    stopped = make_trainer()
    stopped.epochs = 1  # not in the config, by which a schedule may go
    stopped.train()
    resumed = make_trainer(resume=stopped.checkpoint_dir / "last.pth")
    resumed.train()
    weights = straight.model.state_dict(), resumed.model.state_dict()
    torch.testing.assert_close(*weights, rtol=0, atol=0)  # bit for bit


def test_the_scripts_run_one_after_the_other(tmp_path):
    config = ["-c", default_config(), f"trainer.save_dir={tmp_path}", "trainer.epochs=1"]
    done = run_script("train.py", *config, "trainer.len_epoch=2", "-d", "cpu")
    assert done.returncode == 0, done.stderr
    [last] = tmp_path.glob("*/*/last.pth")
    done = run_script("test.py", "-r", last, "-d", "cpu")
    assert done.returncode == 0, done.stderr
    assert "test samples" in done.stdout


def test_a_dry_run_says_that_all_is_well(tmp_path):
    pytest.importorskip("tools.check", reason="what --check does was deleted")
    saved = tmp_path / "saved"
    done = run_script("train.py", "--check", f"trainer.save_dir={saved}", "-d", "cpu")
    assert "All is well." in done.stdout, done.stderr
    assert not saved.exists()
