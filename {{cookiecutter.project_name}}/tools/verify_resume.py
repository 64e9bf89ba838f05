"""Prove on the user's own model and data that an interrupted run ends as one that was not.

Trains a few steps straight, twice, and once with interruptions in the middle of two epochs, all in
a temporary folder, and compares the ends bit by bit.
"""

import signal
from tempfile import TemporaryDirectory

from parse_config import ConfigParser
from tools.compare import first_difference
from train import build_trainer
from utils import checkpoint
from utils.checkpoint import LAST_NAME
from utils.errors import RunError, UserError

STEPS = 6  # in each of two epochs
STOP_AFTER = 4  # and in each of the two once
PARTS = ["state_dict", "optimizer", "lr_scheduler", "monitor_best", "train_metrics", "random"]
REASONS = {
    "state_dict": "something is drawn from other random states than Python's, NumPy's and torch's, "
    "or the model or the trainer keeps a state that the checkpoint does not have",
    "optimizer": "it keeps a state that its state_dict does not have",
    "lr_scheduler": "it keeps a state that its state_dict does not have",
    "random": "something draws a different number of random numbers after a resume",
}


def run(config, _):
    with TemporaryDirectory() as folder:
        straight = train_straight(config, folder)
        compare(straight, train_straight(config, folder), "two straight runs", "see deterministic")
        resumed = train_interrupted(config, folder)
        compare(straight, resumed, "a straight and a resumed run")
    print(f"Proven: {2 * STEPS} steps, straight and interrupted twice, end bit for bit the same.")


def make_trainer(config, folder, resume=None):
    changes = {"save_dir": folder, "epochs": 2, "len_epoch": STEPS, "verbosity": 0}
    changes |= {"tensorboard": False, "trackers": [], "early_stop": None, "keep_last": None}
    settings = config.config | {"trainer": config["trainer"] | changes}
    trainer = build_trainer(ConfigParser(settings, resume=resume, source=config.source))
    trainer.watchers = []
    return trainer


def train_straight(config, folder):
    trainer = make_trainer(config, folder)
    trainer.train()
    return checkpoint.load(trainer.checkpoint_dir / LAST_NAME)


def train_interrupted(config, folder):
    """The end of a run that is stopped in the middle of each epoch and resumed."""
    last = None
    for stop_at in (STOP_AFTER, STEPS + STOP_AFTER, None):
        trainer = make_trainer(config, folder, resume=last)
        interrupt(trainer, stop_at)
        last = trainer.checkpoint_dir / LAST_NAME
    return checkpoint.load(last)


def interrupt(trainer, stop_at):
    """Train until `stop_at` steps are done; then do as if SIGTERM had come."""
    after_step = trainer._after_step

    def stop_or_go_on():
        if trainer.step == stop_at:
            trainer.stop_signals.received = signal.SIGTERM
        after_step()

    trainer._after_step = stop_or_go_on
    trainer.logger.disabled = True  # the interruption is no news
    try:
        trainer.train()
    except RunError as error:
        if error.status != 128 + signal.SIGTERM:
            raise
    finally:
        trainer.logger.disabled = False


def compare(a, b, what, reason=None):
    for part in PARTS:
        if difference := first_difference(a.get(part), b.get(part), part):
            likely = reason or REASONS.get(part, "the trainer does not take it up")
            raise UserError(f"{what} differ in {difference}. Likely: {likely}")
