"""What the scripts have in common: arguments, one line for a mistake, several processes."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NoReturn

from utils import distributed
from utils.errors import UserError


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print the message of a UserError as one line and exit with its status."""
    try:
        yield
    except UserError as error:
        if not getattr(error, "is_shown", False) and is_first_to_say(str(error)):
            print(distributed.speaker() + str(error), file=sys.stderr)
        sys.exit(error.status)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "numpy"):
            raise
        reason = f"{sys.executable} has no {error.name}: pip install -r requirements.txt"
        print(reason, file=sys.stderr)
        sys.exit(2)


def is_first_to_say(message: str) -> bool:
    """Whether this process is to show an error: of several with the same one, one shows it."""
    if distributed.world_size() == 1:
        return True
    from utils.process_group import claim

    return claim(message)


def process_group() -> AbstractContextManager:
    """While entered, the processes that torchrun has started can speak to each other."""
    if distributed.world_size() == 1:
        return nullcontext()
    from utils.process_group import process_group

    return process_group()


class CommandLine(argparse.ArgumentParser):
    """The arguments of a script, which `doc` explains; a mistake in them is one line."""

    def __init__(self, doc: str | None) -> None:
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        with exit_on_user_error():
            raise UserError(f"command line: {message}; --help lists what there is")
        raise AssertionError("exit_on_user_error has ended the script")
