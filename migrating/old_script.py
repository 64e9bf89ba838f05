"""Runs the scripts of the old project: their own main(), with the command line of this one.

migrate.py has put this file here. Once train.py is written anew, delete it. For a script that reads
its command line by itself, this tries everything on a few batches and leaves nothing behind:

python -m tools.old_script SCRIPT.py -c config.json
"""

import argparse
import json
import logging
import runpy
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import parse_config
from base import BaseTrainer, Callback
from logger import setup_logging
from parse_config import ConfigParser
from parse_config import ConfigParser as NewConfigParser
from tools import for_one_process
from utils import distributed
from utils.command_line import exit_on_user_error
from utils.errors import UserError

LOOP = {"train", "_train_epoch"}  # what makes a class a base of trainers
Main = Callable[..., Any]  # of (config) or of (config, resume)


class OneGoesOn(Callback):
    """Several trainers of a script, as for folds: only the first may go on from a checkpoint."""

    taken: set[Any] = set()  # by this process

    def on_setup(self, trainer: BaseTrainer) -> None:
        """Raises UserError where another trainer has gone on from the same: it is not of both."""
        path = trainer.config.resume
        if path is None or trainer.outcome:  # the same goes on in this process
            return
        if path in self.taken:
            how = "start the script without -r"
            raise UserError(f"command line: -r {path}: is of one trainer, not of several: {how}")
        self.taken.add(path)


class Built(Exception):
    """Not an error: carries the trainer out of main()."""


def run(
    main: Main,
    parser: argparse.ArgumentParser,
    options: Iterable[Any] = (),
    with_resume: bool = False,
) -> None:
    """Call main(config), or main(config, resume), as the command line says."""
    help_text = "try everything on a few batches and leave nothing behind"
    parser.add_argument("--check", action="store_true", help=help_text)
    setup_logging()  # before logging.info() of the old code does it by itself, and doubles lines
    logging.getLogger().setLevel(logging.INFO)
    with exit_on_user_error():
        plain = [one for one in options if not further_arguments(one)]
        argv = as_overrides(sys.argv[1:], [one for one in options if one not in plain])
        if default := parser.get_default("config"):  # is not given: with -r, the run's own is taken
            parser.set_defaults(config=None)
            parse_config.default_config = lambda: Path(default)
        # The old class may take other arguments there
        from_args: Any = NewConfigParser.from_args
        config = from_args.__func__(ConfigParser, parser, plain, argv=argv)
        if config.args.check:
            for_one_process("--check")
            return check(call, main, config, with_resume)
        with distributed.process_group():
            config = distributed.broadcast(config)
            call(main, config, with_resume)


def call(main: Main, config: ConfigParser, with_resume: bool = False) -> None:
    main(*(config, config.resume)[: 1 + with_resume])


def further_arguments(option: Any) -> dict[str, Any]:
    """What an option has for add_argument beside its flags, type, target and help."""
    fields: dict[str, Any] = getattr(option, "_asdict", dict)()
    known = ("flags", "type", "target", "help")
    return {key: value for key, value in fields.items() if key not in known and value is not None}


def as_overrides(argv: list[str], options: list[Any]) -> list[str]:
    """A command line with those options, such as with nargs="+", written as KEY=VALUE."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for number, option in enumerate(options):
        more = {"default": None, **further_arguments(option)}
        parser.add_argument(*option.flags, type=option.type, dest=f"option{number}", **more)
    args, rest = parser.parse_known_args(argv)
    for number, option in enumerate(options):
        if (value := getattr(args, f"option{number}")) is not None:
            keys = option.target
            keys = keys.replace(";", ".") if isinstance(keys, str) else ".".join(keys)
            rest.append(f"{keys}={json.dumps(value)}")
    return rest


def check(main: Callable[..., Any], *args: Any) -> None:
    """What --check says of the trainer that a call of main puts together."""
    from tools.check import check  # takes torch

    trainer = first_trainer(main, *args)
    if not hasattr(trainer, "data_loader"):
        trainer.config.discard_run()
        wanted = "data_loader and valid_data_loader: --check takes a few batches of these"
        raise UserError(f"{type(trainer).__name__}: its loaders are to be called {wanted}")
    run_dir = trainer.config.save_dir
    before = {*run_dir.glob("*")}
    try:
        check(trainer)
    finally:
        trainer.writer.close()
        for path in {*run_dir.glob("*")} - before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        trainer.config.discard_run()


def first_trainer(main: Callable[..., Any], *args: Any) -> BaseTrainer:
    """The trainer that main(*args) puts together, from the moment when it would train.

    Raises UserError where main() trains nothing, or something that is not built on BaseTrainer.
    """

    def stop(trainer: BaseTrainer, *_: Any, **__: Any) -> None:
        raise Built(trainer)

    replaced: list[tuple[Any, Any]] = []

    def replace(cls: Any, /, **_: Any) -> None:
        if "train" in vars(cls):
            replaced.append((cls, cls.train))
            cls.train = stop

    others = [one for one in object.__subclasses__() if LOOP <= vars(one).keys()]
    for cls in chain.from_iterable(map(trainers, [BaseTrainer, *others])):
        replace(cls)
    base: Any = BaseTrainer
    base.__init_subclass__ = classmethod(replace)  # of those that main() imports
    try:
        main(*args)
    except Built as built:
        if isinstance(built.args[0], BaseTrainer):
            return built.args[0]
        name = type(built.args[0]).__name__
        raise UserError(f"{name}: is not built on BaseTrainer, so it cannot be tried") from None
    finally:
        del BaseTrainer.__init_subclass__
        for cls, train in replaced:
            cls.train = train
    raise UserError("--check: main() trains nothing")


def trainers(cls: Any = BaseTrainer) -> Iterator[Any]:
    """The class and all that are built on it: one may have a train() of its own."""
    yield cls
    for one in cls.__subclasses__():
        yield from trainers(one)


def check_script(script: str) -> None:
    """--check of a script that reads its command line by itself."""
    with exit_on_user_error():
        check(partial(runpy.run_path, script, run_name="__main__"))


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    check_script(sys.argv[0])
