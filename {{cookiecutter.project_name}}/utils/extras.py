"""The extras in tools/: files that you can delete, and that are found by being there.

A file there with a subclass of base.Callback takes part in each training. One with a line
`FLAG = {...}`, the arguments of `add_argument`, adds the flag of its name to train.py, which runs
its function `run(config, value)` in place of a training. One with `KEY = "..."` serves that key of
the config. All are read as text first, since to import them would take seconds.
"""

import argparse
import ast
import logging
import re
from functools import cache
from importlib import import_module
from operator import attrgetter
from typing import Any

from utils.errors import PROJECT_DIR, UserError, in_full

CALLBACK = re.compile(r"^class (\w+)\((?:base\.)?Callback\b", re.MULTILINE)
FLAG = re.compile(r"^FLAG = (\{.*\})$", re.MULTILINE)

# What only the full project has: flags, and keys of the config with other values than these
FLAGS = """--convert --fast-dev-run --find-lr --overfit-batches --profile --replay --schema
--summary --unshard --verify-resume""".split()
KEYS = """init_from freeze parallel.type parallel.recompute parallel.sync_batch_norm trainer.ema
trainer.non_finite trainer.save_every.minutes trainer.trackers trainer.histograms""".split()
IN_ANY: tuple = (None, False, [], {}, "ddp", "stop")


@cache
def texts() -> dict[str, str]:
    """The content of each file in tools/, by its name without .py."""
    files = sorted((PROJECT_DIR / "tools").glob("[!_]*.py"))
    return {file.stem: file.read_text(encoding="utf-8", errors="replace") for file in files}


def load_callbacks() -> list[Any]:
    """An instance of each Callback in tools/, in the order of the file names."""
    found = []
    for file, text in texts().items():
        if names := CALLBACK.findall(text):
            try:
                found += [getattr(import_module(f"tools.{file}"), name)() for name in names]
            except ImportError as error:  # such as another file that was deleted
                logging.getLogger("train").warning("tools/%s.py: %s", file, error)
    return found


def not_served(settings: Any) -> list[str]:
    """The keys of the config that are set, but for which the file in tools/ is not there."""
    every_text = "\n".join(texts().values())
    is_set = [key for key in KEYS if attrgetter(key)(settings) not in IN_ANY]
    return [key for key in is_set if f'KEY = "{key}"' not in every_text]


def modules_of(key: str) -> list[Any]:
    """The module tools/<key>.py, in which a name under that key of the config may stand too."""
    return [import_module(f"tools.{key}")] if key in texts() else []


def find_hook(name: str, what: str = "") -> Any:
    """The function `name` of the file in tools/ that has it; UserError where `what` needs one."""
    for file, text in texts().items():
        if f"\ndef {name}(" in text:
            return getattr(import_module(f"tools.{file}"), name)
    if what:
        raise UserError(f"{what}: {in_full()}")
    return None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Let a parser take the flags of the extras, one of them at a time."""
    one_of_them: Any = None
    for name, text in texts().items():
        if line := FLAG.search(text):  # argparse does not take an empty group
            one_of_them = one_of_them or parser.add_mutually_exclusive_group()
            one_of_them.add_argument(f"--{name.replace('_', '-')}", **ast.literal_eval(line[1]))


def chosen_flag(args: Any) -> Any:
    """What the flag on the command line runs, as a function of the config; None without one."""
    for name, text in texts().items():
        if FLAG.search(text) and (value := getattr(args, name, None)):
            return lambda config: import_module(f"tools.{name}").run(config, value)
    return None
