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
        print(text, file=file, flush=True)


def setup_logging(save_dir: str | Path | None = None) -> None:
    """Show log messages on the console; once there is a run directory, all go to its train.log too.

    Of several processes, the others than the main one show errors only, and have log files of their
    own for errors and warnings.
    """
    root, is_main = logging.getLogger(), distributed.is_main()
    kept = next((one for one in root.handlers if isinstance(one, MemoryHandler)), None)
    if kept is None:
        root.addHandler(ConsoleHandler(logging.NOTSET if is_main else logging.ERROR))
        kept = MemoryHandler(capacity=1)  # keeps all messages until it has a file
        kept.setLevel(logging.NOTSET if is_main else logging.WARNING)
        root.addHandler(kept)
    if save_dir is not None:
        if kept.target is not None:
            kept.target.close()  # that of an earlier run in this process
        name = "train.log" if is_main else f"train_rank{distributed.rank()}.log"
        file = logging.FileHandler(Path(save_dir) / name, encoding="utf-8", delay=True)
        file.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
        file.addFilter(lambda _: Path(save_dir).exists())  # --check and notebooks remove runs
        kept.setTarget(file)
        kept.flush()
