"""Made the checkpoints here with an older version of the project, and goes on from them with a new.

With the project of commit 9a124f8 in FOLDER, PYTHONPATH=FOLDER python make.py wrote all files here.
PYTHONPATH=PROJECT python make.py NAME SAVE_DIR goes on from one of them: it prints, as JSON, the
samples of each step that is left, what the last epoch logs, the weight at the end and more.
"""

import json
import shutil
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from parse_config import ConfigParser
from trainer.trainer import Trainer
from utils.errors import RunError

HERE = Path(__file__).parent
N = 22  # samples, in batches of 4: the last has 2
# The settings of the trainer, and the step after which SIGTERM came; None for the end of epoch 1
CASES = {
    "within_an_epoch": ({}, 8),
    "end_of_an_epoch": ({}, None),
    "len_epoch_within": ({"len_epoch": 4}, 9),
    "len_epoch_end": ({"len_epoch": 4}, None),
    "skipped": ({"non_finite": "skip", "accumulate_steps": 2, "ema": 0.9}, 5),
}


class Total:
    """A metric that collects."""

    def reset(self):
        self.n, self.sum = 0, torch.zeros(())

    def update(self, output, target):
        self.n, self.sum = self.n + len(target), self.sum + target.sum()

    def compute(self):
        return self.sum + self.n / 100


class Noting(Trainer):
    """Notes the samples of each step; one step of some runs is not finite."""

    def train_step(self, batch):
        data, target = batch
        self.seen.append(data.flatten().tolist())
        output = self.model(data)
        loss = self.criterion(output, target)
        is_bad = self.step == 2 and self.config["trainer"]["non_finite"] == "skip"
        self.optimize(loss * float("nan") if is_bad else loss)
        return {"loss": loss, **self.measure(output, target)}


def build(save_dir, changes, resume=None):
    settings = {"epochs": 3, "save_dir": str(save_dir), "tensorboard": False, "monitor": "off"}
    config = {
        "name": "Old",
        "seed": 5,
        "device": "cpu",
        "arch": "Linear",
        "data_loader": "TensorDataset",
        "optimizer": {"type": "SGD"},
        "loss": "mse_loss",
        "trainer": settings | {"keep_last": None, "verbosity": 0, "report": False} | changes,
    }
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    x = torch.arange(float(N))[:, None]
    loader = BaseDataLoader(TensorDataset(x, x), 4, True, 0, 0)
    parts = model, nn.functional.mse_loss, [Total()], optimizer
    config = ConfigParser(config, resume=resume)
    trainer = Noting(*parts, config, "cpu", loader, lr_scheduler=scheduler)
    trainer.seen = []
    return trainer


def train(trainer):
    """Train to the end; what there is to compare."""
    log = trainer.train()
    average = trainer.state.get("ema")
    return {
        "seen": trainer.seen,
        "log": log,
        "step": trainer.step,
        "weight": trainer.model.weight.item(),
        "average": average and average.module.weight.item(),
    }


def make(name):
    """Write a checkpoint, and what is expected of a run that goes on from it."""
    changes, stop_at = CASES[name]
    with TemporaryDirectory() as folder:
        expected = train(build(folder, changes))
        trainer = build(folder, changes)
        after_step = trainer._after_step

        def stop_or_go_on():
            if trainer.step == stop_at:
                trainer.stop_signals.received = signal.SIGTERM
            after_step()

        trainer._after_step = stop_or_go_on
        try:
            trainer.train()
        except RunError as error:
            assert "SIGTERM" in str(error)
        file = "checkpoint-epoch1.pth" if stop_at is None else "last.pth"
        shutil.copy(trainer.checkpoint_dir / file, HERE / f"{name}.pth")
        state = torch.load(HERE / f"{name}.pth", weights_only=True)
        done = state["step"] * trainer.accumulate_steps
        if "accumulate_steps" in changes:  # 6 batches make 3 steps
            assert expected["seen"][:done] == trainer.seen
        expected["seen"] = expected["seen"][done:]
        expected |= {"place": state["place"], "n_skipped": state["n_skipped"]}
        (HERE / f"{name}.json").write_text(json.dumps(expected, indent=1) + "\n")


def go_on(name, save_dir):
    """Go on from a copy of a checkpoint; prints what `make` has noted as expected."""
    save_dir.mkdir()
    path = Path(shutil.copy(HERE / f"{name}.pth", save_dir))
    trainer = build(save_dir, CASES[name][0], path)
    print(
        json.dumps(
            train(trainer) | {"n_skipped": getattr(trainer.state.get("finite"), "n_skipped", 0)}
        )
    )


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for name in CASES:
            make(name)
    else:
        go_on(sys.argv[1], Path(sys.argv[2]))
