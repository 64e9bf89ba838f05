import argparse
import sys
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake that the user can mend: the scripts print its message alone and exit with 2."""

    status = 2


class NotFinite(ArithmeticError):
    """A loss or a gradient is infinite or not a number; the optimizer has not stepped."""


class RunError(UserError):
    """The end of a run that had begun: one line; `is_shown` where it is on the console already."""

    def __init__(self, message, status=1, is_shown=False):
        super().__init__(message)
        self.status = status
        self.is_shown = is_shown


@contextmanager
def exit_on_user_error():
    from utils import distributed  # here, as it takes UserError from this file

    try:
        yield
    except UserError as error:
        if not getattr(error, "is_shown", False) and distributed.speaks(str(error)):
            print(distributed.speaker() + str(error), file=sys.stderr)
        sys.exit(error.status)


class CommandLine(argparse.ArgumentParser):
    """The arguments of a script, which `doc` explains; a mistake in them is one line."""

    def __init__(self, doc):
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message):
        with exit_on_user_error():
            raise UserError(f"command line: {message}; --help lists what there is")
