import logging
import sys
from pathlib import Path

from utils import distributed


class ConsoleHandler(logging.Handler):
    """Prints to what standard output is at that moment; errors to standard error."""

    def emit(self, record):
        if getattr(record, "is_on_bar", False):
            return
        file = sys.stderr if record.levelno >= logging.ERROR else sys.stdout
        text = distributed.speaker() + self.format(record)
        if "tqdm" in sys.modules:  # there may be a bar, which has to make room
            sys.modules["tqdm"].tqdm.write(text, file=file)
            file.flush()
        else:
            print(text, file=file, flush=True)


def setup_logging(save_dir=None):
    """Show log messages on the console and, given a run directory, append them to its train.log.

    Of several processes, the others than the main one show errors only, and have log files of their
    own for errors and warnings.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, ConsoleHandler) for handler in root.handlers):
        root.addHandler(ConsoleHandler(0 if distributed.is_main() else logging.ERROR))
    if save_dir is None:
        return
    for handler in [one for one in root.handlers if isinstance(one, RunFileHandler)]:
        root.removeHandler(handler)  # that of an earlier run in this process
        handler.close()
    root.addHandler(RunFileHandler(save_dir))


class RunFileHandler(logging.FileHandler):
    def __init__(self, save_dir):
        name = "train.log" if distributed.is_main() else f"train_rank{distributed.rank()}.log"
        super().__init__(Path(save_dir) / name, encoding="utf-8", delay=True)
        self.setLevel(0 if distributed.is_main() else logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))

    def emit(self, record):
        if Path(self.baseFilename).parent.exists():  # a notebook may have removed the run
            super().emit(record)
