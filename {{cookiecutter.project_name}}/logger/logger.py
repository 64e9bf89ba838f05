"""Log messages: on the console, and in train.log of the run directory."""

import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

from utils import distributed


class ConsoleHandler(logging.Handler):
    """Prints to what standard output is at that moment; errors to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "is_shown", False):
            return
        file = sys.stderr if record.levelno >= logging.ERROR else sys.stdout
        text = distributed.speaker() + self.format(record)
        if "tqdm" in sys.modules:  # there may be a bar, which has to make room
            sys.modules["tqdm"].tqdm.write(text, file=file)
            file.flush()
        else:
            print(text, file=file, flush=True)


def setup_logging(save_dir: str | Path | None = None) -> None:
    """Show log messages on the console and, given a run directory, append them to its train.log.

    Of several processes, the others than the main one show errors only, and have log files of their
    own for errors and warnings.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, ConsoleHandler) for handler in root.handlers):
        root.addHandler(ConsoleHandler(0 if distributed.is_main() else logging.ERROR))
        root.addHandler(RunHandler())
    for handler in root.handlers:
        if isinstance(handler, RunHandler) and save_dir is not None:
            handler.open(save_dir)


class RunHandler(MemoryHandler):
    """Keeps what is logged until the run has a directory; from then on, it goes to a file there."""

    def __init__(self) -> None:
        super().__init__(capacity=1)
        self.setLevel(0 if distributed.is_main() else logging.WARNING)

    def open(self, save_dir: str | Path) -> None:
        """Write what was logged so far, and what comes, to a file in that directory."""
        if self.target is not None:
            self.target.close()  # that of an earlier run in this process
        name = "train.log" if distributed.is_main() else f"train_rank{distributed.rank()}.log"
        file = logging.FileHandler(Path(save_dir) / name, encoding="utf-8", delay=True)
        file.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
        file.addFilter(lambda _: Path(save_dir).exists())  # a notebook may have removed the run
        self.setTarget(file)
        self.flush()
