"""Tests a checkpoint with what the old project trains with: its trainer and its own validation.

migrate.py has put this file here. Once train.py is written anew, delete it.

python -m tools.old_test SCRIPT.py -r saved/<name>/<run_id>/model_best.pth

SCRIPT.py is the script that trains. The data are those that the loader gives with `training=False`
where it heeds that, else the trainer's `test_data_loader` or its validation part.
"""

import ast
import inspect
import runpy
import sys
import textwrap
from functools import partial
from typing import Any

from tools.old_script import first_trainer

from base.base_trainer import BaseTrainer
from tools import for_one_process
from utils import resume
from utils.command_line import exit_on_user_error
from utils.errors import UserError


def test_script(script: str) -> None:
    """Print what the validation of the trainer that a script makes says of the checkpoint `-r`."""
    sys.argv[0] = script
    with exit_on_user_error():
        for_one_process("a test")
        test(first_trainer(partial(runpy.run_path, script, run_name="__main__")))


def test(trainer: Any) -> None:
    """Print the values of a trainer's validation. Raises UserError where it has none."""
    config = trainer.config
    try:
        if config.resume is None:
            raise UserError("command line: -r CHECKPOINT is missing: which model to test")
        if not hasattr(trainer, "_valid_epoch"):
            raise UserError(f"{type(trainer).__name__}: has no _valid_epoch, which would test")
        trainer.valid_data_loader, said = data_of(trainer)
        trainer.do_validation, trainer.writer.enabled = True, False
        state = resume.load(config.resume)
        load(trainer, state)
        log = trainer._valid_epoch(state["epoch"])
    finally:
        config.discard_run()  # where the checkpoint lies in no run
    print(f"{config.resume}: epoch {state['epoch']}, {said}")
    for name, value in (log if isinstance(log, dict) else {"result": log}).items():
        is_number = isinstance(value, (int, float)) or getattr(value, "ndim", 1) == 0
        print(f"{name:<19} {float(value):.4f}" if is_number else f"{name:<19} {value}")


def load(trainer: Any, state: dict[str, Any]) -> None:
    """Put the weights of a checkpoint into the trainer's model, or models."""
    if type(trainer)._resume_checkpoint is BaseTrainer._resume_checkpoint:
        weights = resume.weights_to_use(state)
        resume.set_weights(trainer.model, weights, trainer.config.resume)
    else:
        trainer._resume_checkpoint(trainer.config.resume)


def data_of(trainer: Any) -> tuple[Any, str]:
    """The data to test with, and what they are."""
    why = ""
    part = trainer.config.given.get("data_loader")
    cls: Any = type(getattr(trainer, "data_loader", None))
    if isinstance(part, dict) and part.get("type") == cls.__name__:
        taken = inspect.signature(cls).parameters
        if "training" in taken and heeds_training(cls):
            changes = {"shuffle": False, "validation_split": 0.0, "training": False}
            args = dict(part.get("args") or {}) | {k: v for k, v in changes.items() if k in taken}
            try:
                loader = cls(**args)
            except (OSError, TypeError) as error:
                raise UserError(f"{cls.__name__} with training=False: {error}") from error
            if len(loader):
                return loader, f"what {cls.__name__} gives with training=False"
            why = f", as {cls.__name__} has no data with training=False"
    for name, words in ("test_data_loader", "test data"), ("valid_data_loader", "validation part"):
        if getattr(trainer, name, None) is not None:
            return getattr(trainer, name), words + why
    for name, value in vars(trainer).items():  # as val_loader, which its _valid_epoch reads
        if "val" in name and name.endswith("loader") and value is not None:
            return value, f"validation part ({name}){why}"
    wanted = "none gives them with training=False, and the trainer has no valid_data_loader"
    raise UserError(f"no data to test with: of the loaders {wanted}")


def heeds_training(cls: Any) -> bool:
    """Whether a loader does something with its argument: some give the training data for both."""
    code = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__)))
    names = [one for one in ast.walk(code) if isinstance(one, ast.Name)]
    return any(one.id == "training" and isinstance(one.ctx, ast.Load) for one in names)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    test_script(sys.argv[0])
