"""The extras in tools/: files that you can delete, and that are found by being there.

A file there with a subclass of base.Callback takes part in each training; one with a line
`FLAG = {...}`, the arguments of `add_argument`, and a function `run(config, value)` answers to the
flag of its name. They are read as text first, since to import all of them would take seconds.
"""

import argparse
import ast
import logging
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from utils import distributed
from utils.errors import UserError
from utils.files import PROJECT_DIR

FOLDER = PROJECT_DIR / "tools"
CALLBACK = re.compile(r"^class (\w+)\((?:base\.)?Callback\b", re.MULTILINE)
FLAG = re.compile(r"^FLAG = (\{.*\})$", re.MULTILINE)


def load_callbacks() -> list[Any]:
    """An instance of each Callback in tools/, in the order of the file names."""
    found = []
    for path, text in texts():
        for name in CALLBACK.findall(text):
            try:
                callback = getattr(import_extra(path.stem), name)
                if hasattr(callback, "on_train_start"):  # else that of another library
                    found.append(callback())
            except UserError as error:
                left_out(str(error))
    return found


@cache
def left_out(reason: str) -> None:
    """Say once in this process why an extra takes no part."""
    logging.getLogger("train").warning("%s", reason)


def flags() -> dict[str, dict[str, Any]]:
    """What `add_argument` takes for each flag of an extra, by its name."""
    found = {path.stem: match for path, text in texts() if (match := FLAG.search(text))}
    return {name: ast.literal_eval(match[1]) for name, match in found.items()}


def import_extra(name: str) -> Any:
    """The module tools/<name>.py. Raises UserError where it needs another that was deleted."""
    try:
        return import_module(f"tools.{name}")
    except ModuleNotFoundError as error:
        missing = str(error.name).replace(".", "/")
        if not missing.startswith("tools/"):
            raise
        raise UserError(f"tools/{name}.py needs {missing}.py, which was deleted") from None


def texts() -> list[tuple[Path, str]]:
    """The path and the content of each file in tools/."""
    return [
        (path, path.read_text(encoding="utf-8", errors="replace"))
        for path in sorted(FOLDER.glob("[!_]*.py"))
    ]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Let a parser take the flags of the extras, one of them at a time."""
    if found := flags():
        one_of_them = parser.add_mutually_exclusive_group()
        for name, arguments in found.items():
            one_of_them.add_argument("--" + name.replace("_", "-"), **arguments)


def chosen_flag(config: Any) -> Any:
    """What the flag on the command line runs, as a function of the config; None without one."""
    for name in flags():
        if value := getattr(config.args, name, None):
            return lambda config: import_extra(name).run(config, value)
    return None


def for_one_process(what: str) -> None:
    """UserError where there are several: `what` is made for one."""
    if distributed.world_size() > 1:
        raise UserError(f"{what} is for one process: start it with python, not with torchrun")


def of_a_new_run(config: Any, flag: str) -> None:
    """UserError where the command line has -r: `flag` starts a run."""
    if config.resume is not None:
        raise UserError(f"{flag} starts from a config (-c), not from a checkpoint (-r)")


def positive(text: str, flag: str) -> int:
    """The number that a flag was given. Raises UserError where it is none."""
    if not text.isdecimal() or text == "0":
        raise UserError(f"command line: {flag}: {text!r} is not a whole number, 1 or more")
    return int(text)
