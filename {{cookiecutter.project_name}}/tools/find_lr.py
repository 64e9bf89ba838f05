"""Suggest a learning rate by the range test of Smith (2017, arXiv:1506.01186).

Training steps are taken with a rate that grows from one to the next, until the loss explodes. The
suggestion is the rate at which the loss falls most steeply on the way to its lowest.
"""

from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from parse_config import ConfigParser
from tools import for_one_process, of_a_new_run
from tools.watchers import set_up
from train import build_trainer
from utils.errors import RunError, UserError
from utils.files import atomic_write, ensure_dir, project_path

FLAG = {"action": "store_true", "help": "try learning rates, draw the loss, suggest one"}
STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0
EXPLODED = 4  # times the first losses
RECENT = 5  # steps whose mean is compared


def run(config: ConfigParser, _: Any) -> None:
    """Print a suggestion and draw the picture that it comes from."""
    for_one_process("--find-lr")
    of_a_new_run(config, "--find-lr")
    if find_spec("matplotlib") is None:
        raise UserError("--find-lr draws with matplotlib: pip install matplotlib")
    path = project_path(config["trainer"]["save_dir"]) / config["name"] / "find_lr.png"
    with TemporaryDirectory() as folder:
        changes = {"save_dir": folder, "tensorboard": False, "trackers": [], "verbosity": 0}
        settings = config.config | {"trainer": config["trainer"] | changes, "lr_scheduler": None}
        rates, losses = range_test(build_trainer(ConfigParser(settings, source=config.source)))
    best = suggest(rates, losses)
    draw(rates, losses, best, path)
    print(f"{path}: the loss at {len(rates)} learning rates up to {rates[-1]:.2g}")
    print(f"Suggested: optimizer.args.lr={best:.2g}")


def range_test(trainer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates and the loss at each. The trainer is used up."""
    if isinstance(trainer.optimizer, dict):
        names = ", ".join(trainer.optimizer)
        raise UserError(f"--find-lr takes one optimizer, the config has several: {names}")
    if trainer.optimizer.defaults["lr"] == 0:
        raise UserError("--find-lr tries multiples of optimizer.args.lr, which is 0")
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    losses: list[float] = []
    set_up(trainer)
    take_steps(trainer, rates, losses)
    return rates[: len(losses)], np.array(losses)


class Exploded(Exception):
    """Ends the epoch that the steps are taken in."""


def take_steps(trainer: Any, rates: np.ndarray, losses: list[float]) -> None:
    """An epoch with a step for each rate, which adds its loss to `losses`."""
    trainer.len_epoch = len(rates) * trainer.accumulate_steps
    trainer.log_step = trainer.len_epoch + 1  # no lines of progress
    trainer.epoch_is_pass, trainer.do_validation, trainer.lr_scheduler = False, False, None
    given = trainer.optimizer.defaults["lr"]
    factors = [group["lr"] / given for group in trainer.optimizer.param_groups]

    def set_rate(rate: float) -> None:
        for group, factor in zip(trainer.optimizer.param_groups, factors, strict=True):
            group["lr"] = rate * factor

    def after_step() -> None:
        means = trainer.train_metrics.window()
        if "loss" not in means and "finite" in trainer.state:
            return  # tools/skip_steps.py has left the step out
        if "loss" not in means:
            raise UserError(f"--find-lr goes by 'loss', train_step gives {', '.join(means)}")
        if not isfinite(means["loss"]):
            raise Exploded
        losses.append(means["loss"])
        if np.mean(losses[-RECENT:]) > limit(losses):
            raise Exploded
        set_rate(rates[min(len(losses), len(rates) - 1)])

    trainer._save_or_stop_if_due, trainer.asks_each_step = after_step, True
    set_rate(rates[0])
    try:
        trainer._train_epoch(1)
    except (Exploded, RunError):  # the latter where a step is not finite
        pass


def limit(losses: Any) -> float:
    """The loss at which it counts as exploded."""
    first = np.mean(losses[:RECENT])
    return first + (EXPLODED - 1) * abs(first)


def smooth(losses: np.ndarray, width: int = 4) -> np.ndarray:
    """Means weighted by a bell curve of so many steps, which shifts nothing to either side."""
    losses = np.minimum(losses, limit(losses))
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / width) ** 2)
    return weights @ losses / weights.sum(axis=1)


def suggest(rates: np.ndarray, losses: np.ndarray) -> float:
    """The rate of the steepest fall. Raises UserError where there is none."""
    if len(losses) < STEPS / 5:
        raise UserError(f"the loss explodes within {len(losses)} steps, from a rate of {LOWEST} on")
    smoothed = smooth(losses)
    lowest = smoothed.argmin()  # what falls after it has exploded before
    slopes = np.gradient(smoothed, np.log(rates))[: lowest + 1]
    if slopes.min() >= 0:
        raise UserError("the loss falls at no learning rate: does the model learn at all?")
    return float(rates[slopes.argmin()])


def draw(rates: np.ndarray, losses: np.ndarray, best: float, path: Path) -> None:
    from matplotlib.figure import Figure

    smoothed = smooth(losses)
    low, high = smoothed.min(), smoothed[rates <= best].max()
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="0.8", label="loss of each step")
    axes.plot(rates, smoothed, label="smoothed")
    axes.axvline(best, linestyle="--", color="tab:red", label=f"suggested: {best:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.set_ylim(low - (high - low) / 2, high + (high - low) / 2)
    axes.legend()
    ensure_dir(path.parent)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")
