"""Runs the scripts of the old project: their own main(), with the command line of this one.

migrate.py has put this file here. Once train.py is written anew, delete it.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from typing import Any

from base import BaseTrainer
from parse_config import ConfigParser
from utils import distributed
from utils.command_line import exit_on_user_error
from utils.errors import UserError
from utils.extras import for_one_process

Main = Callable[..., Any]  # of (config) or of (config, resume)


class Built(Exception):
    """Not an error: carries the trainer out of main()."""


def run(main: Main, parser: argparse.ArgumentParser, options: Iterable[Any] = ()) -> None:
    """Call main(config), or main(config, resume), as the command line says."""
    help_text = "try everything on one batch and leave nothing behind"
    parser.add_argument("--check", action="store_true", help=help_text)
    with exit_on_user_error():
        config = ConfigParser.from_args(parser, options)
        if config.args.check:
            from tools.check import check  # takes torch

            for_one_process("--check")
            return check(first_trainer(main, config))
        with distributed.process_group():
            config = distributed.broadcast(config)
            call(main, config)


def call(main: Main, config: ConfigParser) -> None:
    main(*(config, config.resume)[: len(signature(main).parameters)])


def first_trainer(main: Main, config: ConfigParser) -> BaseTrainer:
    """The trainer that main() puts together, from the moment when it would train.

    Raises UserError where main() trains nothing.
    """

    def stop(trainer: BaseTrainer) -> None:
        raise Built(trainer)

    replaced = [(cls, cls.train) for cls in trainers() if "train" in vars(cls)]
    for cls, _ in replaced:
        cls.train = stop
    try:
        call(main, config)
    except Built as built:
        return built.args[0]
    finally:
        for cls, train in replaced:
            cls.train = train
    raise UserError("--check: main() trains nothing")


def trainers(cls: Any = BaseTrainer) -> Iterator[Any]:
    """The class and all that are built on it: one may have a train() of its own."""
    yield cls
    for one in cls.__subclasses__():
        yield from trainers(one)
