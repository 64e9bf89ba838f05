import sys
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake that the user can mend: the scripts print its message alone and exit with 2."""


@contextmanager
def exit_on_user_error():
    try:
        yield
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
