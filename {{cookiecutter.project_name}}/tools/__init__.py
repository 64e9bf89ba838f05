"""What stands beside the training: a file each. To do without one, delete its file."""

import argparse
from importlib import import_module
from importlib.util import find_spec

from utils import distributed
from utils.errors import UserError
from utils.optional import find_tool


def for_one_process(what):
    """UserError where there are several: `what` is made for one."""
    if distributed.size() > 1:
        raise UserError(f"{what} is for one process: start it with python, not with torchrun")


def positive(text):
    if not text.isdecimal() or text == "0":
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


# For each, its file has run(config, value), which takes the place of a training
FLAG = {"action": "store_true"}
FLAGS = {
    "check": FLAG | {"help": "try everything on one batch and leave nothing behind"},
    "summary": FLAG | {"help": "show layers, shapes, parameters and memory of the model"},
    "find_lr": FLAG | {"help": "try learning rates, draw the loss, suggest one"},
    "fast_dev_run": {"type": positive, "metavar": "N", "help": "a run on N batches of each phase"},
    "overfit_batches": {"type": positive, "metavar": "N", "help": "train on the same N batches"},
    "verify_resume": FLAG | {"help": "prove that an interrupted run ends as one that was not"},
    "profile": FLAG | {"help": "time the parts of a step and trace a few steps"},
    "replay": {"metavar": "PATH", "help": "repeat the step in a black box"},
    "unshard": {"metavar": "FOLDER", "help": "make one file of a sharded checkpoint"},
    "schema": FLAG | {"help": "print a JSON Schema of the config, for editors"},
}
UNDER_TORCHRUN = {"fast_dev_run", "overfit_batches"}  # the others are for one process
OF_A_NEW_RUN = {"check", "find_lr", "fast_dev_run", "overfit_batches", "verify_resume", "profile"}
OF_EVERY_TRAINER = ["changes", "record", "restart"]  # the file of each has a Watcher
WATCHERS = ["advice", "monitor", "manifest", "pictures"]  # so have these, where train.py trains


class Watcher:
    """Looks on at a training: a subclass says what it does at which moment."""

    def resume(self, trainer, state):
        """Before the state in a checkpoint is taken up; it may be edited."""

    def begin(self, trainer):
        """Before the first epoch; a UserError refuses the run."""

    def __call__(self, trainer, log):
        """After each epoch, with the values that it gave."""

    def end(self, trainer, how):
        """After the last: "finished" or "stopped early"; or else "interrupted" or "failed: …"."""


def watchers(names=WATCHERS):
    return [module.Watcher() for module in map(find_tool, names) if module]


class NoProgress:
    """In place of tools/progress.py where that was deleted."""

    def training(self, trainer, batches):
        return batches

    evaluation = training

    def show(self, trainer, values):
        pass


def new_progress():
    """What shows how far training is, within epochs."""
    module = find_tool("progress")
    return module.Progress() if module else NoProgress()


class NoGuard:
    """In place of tools/finite.py where that was deleted or is not wanted."""

    n_skipped = 0

    def watch(self, trainer, groups):
        return groups

    def check(self, trainer, loss, parameters, optimizer, norms=None):
        pass

    def look(self, trainer):
        pass

    def leave_out(self, trainer, error, batches):
        raise error


def new_guard(trainer):
    """What keeps numbers that are not finite from the weights."""
    is_wanted = trainer.config.settings.trainer.non_finite != "ignore"
    module = find_tool("finite") if is_wanted else None
    return module.Guard(trainer) if module else NoGuard()


def new_saver(optimizers):
    """What writes checkpoints while training goes on; None where its file was deleted."""
    module = find_tool("background")
    return module.BackgroundSaver(*optimizers) if module else None


def explained(error):
    """What is to be said of an error that ended a run: itself, or a line that explains it."""
    module = find_tool("explain")
    return module.explained(error) if module else (error, None)


def after_training(config):
    """Make the report, where it is wanted and report.py was not deleted."""
    if config.settings.trainer.report and distributed.is_main() and find_spec("report"):
        import_module("report").after_training(config.save_dir, config.get_logger("report"))


def add_flags(parser):
    one_of_them = parser.add_mutually_exclusive_group()
    for name, kwargs in FLAGS.items():
        if find_spec(f"tools.{name}"):
            one_of_them.add_argument("--" + name.replace("_", "-"), **kwargs)


def chosen(args):
    """The tool that the command line asks for, as a function of the config; None for none."""
    for name in FLAGS:
        if value := getattr(args, name, None):
            flag = "--" + name.replace("_", "-")
            if name not in UNDER_TORCHRUN:
                for_one_process(flag)
            if name in OF_A_NEW_RUN and args.resume is not None:
                raise UserError(f"{flag} starts from a config (-c), not from a checkpoint (-r)")
            return lambda config: find_tool(name).run(config, value)
    return None
