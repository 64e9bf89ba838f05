"""What ends a script with one line in place of a traceback; utils/command_line.py prints it."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import Logger
from pathlib import Path
from traceback import extract_tb

PROJECT_DIR = Path(__file__).resolve().parent.parent
README = PROJECT_DIR / "README.md"


class UserError(ValueError):
    """A mistake that the user can mend: the scripts print its message alone and exit with 2."""

    status = 2
    is_shown = False

    def __init__(self, message: str) -> None:
        # A worker of a data loader puts a traceback before it
        super().__init__(message.rpartition("UserError: ")[2].strip())


class RunError(UserError):
    """The end of a run that had begun: one line; `is_shown` where it is on the console already."""

    def __init__(self, message: str, status: int = 1, is_shown: bool = False) -> None:
        super().__init__(message)
        self.status, self.is_shown = status, is_shown


def in_full(what: str = "this is") -> str:
    """That something is in the full project, with the command of the README that adds it."""
    lines = README.read_text(encoding="utf-8").splitlines() if README.exists() else []
    commands = [line for line in lines if "size=full" in line or '"size": "full"' in line]
    return f"{what} in the full project: {commands[0] if commands else 'bake it with size=full'}"


@contextmanager
def as_warning(logger: Logger, what: str) -> Iterator[None]:
    """Whatever goes wrong inside, as in a record of a run, is a warning of one line."""
    try:
        yield
    except Exception as error:
        logger.warning("%s: %s", what, in_one_line(error))


def place_of(error: Exception) -> str:
    """The last line of this project that an error came through, as "model/model.py:24: "."""
    frames = [(Path(x.filename).resolve(), x.lineno) for x in extract_tb(error.__traceback__)]
    frames = [(path, n) for path, n in frames if "site-packages" not in path.parts]  # a .venv
    own = [f"{p.relative_to(PROJECT_DIR)}:{n}: " for p, n in frames if PROJECT_DIR in p.parents]
    return next((one for one in reversed(own) if not one.startswith("tools")), "")


def in_one_line(error: Exception) -> str:
    """What an error says, with its type where it was not written for the user."""
    if "\nOriginal Traceback" in str(error):  # in a worker of a data loader
        return str(error).strip().rpartition("\n")[2]
    line = str(error).partition("\n")[0]
    return line if isinstance(error, UserError) else f"{type(error).__name__}: {line}"
