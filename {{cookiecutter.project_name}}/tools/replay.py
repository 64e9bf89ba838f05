"""Repeat the steps up to one that was not finite, with torch looking for the operation.

The weights, the order of the data and what is random are functions of the seed, the epoch and the
sample, or stand in the checkpoint: so the same step comes again.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from tools import for_one_process
from tools.skip_steps import SkippedSteps
from tools.watchers import leave_out_watchers
from utils import distributed
from utils.errors import RunError, UserError
from utils.files import find_file, read_config
from utils.run import stop_if_asked
from utils.run_dir import LAST_NAME, is_run

FLAG = {"metavar": "RUN", "help": "repeat the step of a run that was not finite and look into it"}
# As a trainer says it, on a GPU at the next line
NOT_FINITE = re.compile("(.*); the step was not taken|(.*) since the last log line")
FAILED = re.compile(rf"epoch \d+, step (\d+): (?:{NOT_FINITE.pattern})")  # in train.log
ANOMALY = re.compile(r"Function '\w+' returned nan values")  # torch's words


class Replay(Callback):
    """Says how to look into a step that was not finite."""

    def on_error(self, trainer: BaseTrainer, error: Exception) -> RunError | None:
        run_dir = trainer.checkpoint_dir
        is_run = trainer.config.runs_dir in run_dir.parents  # not the folder of --check
        if distributed.world_size() > 1:  # whose batches one process does not have
            return None
        if not (is_run and isinstance(error, RunError) and NOT_FINITE.match(str(error))):
            return None
        return RunError(f"{error}. To look into it: python train.py --replay {run_dir}")


class NoMoreSteps(Exception):
    """Ends a training that has repeated all steps of the run."""


def run(config: ConfigParser, value: str) -> None:
    """Train from the last checkpoint of a run, or from one in it, and leave the run as it is."""
    for_one_process("--replay")
    path = find_file(value)
    folder = path if is_run(path) or path.suffix != ".pth" else path.parent
    if not path.exists() or not is_run(folder):
        raise UserError(f"{path}: is neither the directory of a run nor a checkpoint in one")
    if [*folder.glob("train_rank*.log")]:
        raise UserError(f"{folder}: is a run of several processes, and --replay is of one")
    start = folder / LAST_NAME if path == folder else path
    with TemporaryDirectory() as temporary:
        trainer = rebuild(config, folder, start if start.exists() else None, temporary)
        first = trainer.step
        fault = train_again(trainer, last_step(folder))
    if fault is not None:
        print(f"Repeated: step {trainer.step}: {fault}")
    else:
        print(f"Not repeated: every step from {first} up to {trainer.step} is finite")


def rebuild(config: ConfigParser, folder: Path, start: Path | None, temporary: str) -> Any:
    """The trainer of a run as it was at a checkpoint, or at its start, writing elsewhere."""
    from train import build_trainer  # here, as train.py looks for this file

    source = folder / "config.json"
    changes = {"save_dir": temporary, "verbosity": 0, "tensorboard": False, "trackers": []}
    changes |= {"non_finite": "stop", "compile": False, "report": False}
    modification = config.modification | {("trainer", key): one for key, one in changes.items()}
    trainer = build_trainer(ConfigParser(read_config(source), None, modification, source=source))
    trainer.logger.disabled = True  # what it says is about another run
    if start is not None:
        for callback in trainer.callbacks:  # which may keep a state, and may edit it
            callback.on_setup(trainer)
        trainer._resume_checkpoint(start)
    leave_out_watchers(trainer)
    return trainer


def last_step(folder: Path) -> int | None:
    """The step at which the run saw that one was not finite; None where its log does not say."""
    log = folder / "train.log"
    found = FAILED.findall(log.read_text(encoding="utf-8")) if log.exists() else []
    return int(found[-1][0]) if found else None


def train_again(trainer: Any, last: int | None) -> str | None:
    """What is not finite in the step at which the training stops; None where all steps are."""
    first = trainer.step

    def stop_or_go_on() -> None:
        stop_if_asked(trainer, 0)
        if last is not None and first <= last < trainer.step:
            raise NoMoreSteps

    trainer._save_or_stop_if_due, trainer._save = stop_or_go_on, lambda *_: None
    trainer.asks_each_step = True
    SkippedSteps(trainer).max_skipped = 0  # looks at gradients too; none is left out
    overflows = trainer.scaler.is_enabled()  # which are no fault then
    try:
        with torch.autograd.set_detect_anomaly(True, check_nan=not overflows):
            trainer.train()
    except NoMoreSteps:
        pass
    except RunError as error:
        if (match := NOT_FINITE.match(str(error))) is None:
            raise RunError(str(error), error.status) from None  # not shown yet
        return match[1] or match[2]
    except RuntimeError as error:
        if not ANOMALY.match(str(error)):
            raise
        return str(error)
    finally:
        trainer.logger.disabled = False
    return None
