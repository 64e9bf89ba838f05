"""What the scripts have in common: arguments, one line for a mistake."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from utils import distributed
from utils.errors import UserError


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print the message of a UserError as one line and exit with its status."""
    try:
        yield
    except UserError as error:
        if not getattr(error, "is_shown", False) and distributed.is_first_to_say(str(error)):
            print(distributed.speaker() + str(error), file=sys.stderr)
        sys.exit(error.status)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "numpy"):
            raise
        reason = f"{sys.executable} has no {error.name}: pip install -r requirements.txt"
        print(reason, file=sys.stderr)
        sys.exit(2)


class CommandLine(argparse.ArgumentParser):
    """The arguments of a script, which `doc` explains; a mistake in them is one line."""

    def __init__(self, doc: str | None) -> None:
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        with exit_on_user_error():
            raise UserError(f"command line: {message}; --help lists what there is")
        raise AssertionError("exit_on_user_error has ended the script")
