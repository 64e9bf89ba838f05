"""The directory of a run: how it is made and marked, the files in it, and which of them is newest.

A directory with the file `.run` is that of a run. In no other one is a file overwritten or deleted.
"""

import atexit
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from utils.errors import UserError
from utils.files import read_json, write_json

EPOCH_NAME = "checkpoint-epoch{}.pth"
BEST_NAME = "model_best.pth"
LAST_NAME = "last.pth"
MARK_NAME = ".run"  # says when the run was last started, and how that ended
TIME = "%Y%m%d_%H%M%S"


def make_run_dir(parent: Path, run_id: str | None = None) -> tuple[Path, list[Path]]:
    """A new folder below `parent`, called by the time or `run_id`; all folders made for it.

    With the name "" it is `parent` itself. Those that stay empty are removed at exit. Raises
    UserError where there is one.
    """
    name = datetime.now().strftime(TIME) if run_id is None else run_id
    folder, n = parent / name, 0
    while True:
        made = [one for one in (folder, *folder.parents) if not one.exists()]
        may_exist = run_id == "" and (is_run(folder) or not (folder / "config.json").exists())
        try:  # making it is the test: two that start at once get two
            folder.mkdir(parents=True, exist_ok=may_exist)
            atexit.register(discard, made, with_files=False)
            return folder, made
        except OSError as error:
            if run_id is not None or not folder.exists():  # else the name is taken
                dead = [f"{one} is a link to nothing" for one in made if one.is_symlink()]
                reason = f"cannot make a run in {parent}: {(*dead, error.strerror)[0]}"
                raise UserError(f"trainer.save_dir: {reason}") from None
        folder, n = parent / f"{name}_{n + 1}", n + 1


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, and not just one where a checkpoint happens to be."""
    return (folder / MARK_NAME).exists()


def read_mark(run_dir: Path) -> dict[str, str]:
    """When a run was last started, and its outcome, "" while it runs or where it was killed."""
    with suppress(OSError, ValueError):  # an older version has noted nothing
        return read_json(run_dir / MARK_NAME)
    return {}


def mark_start(run_dir: Path) -> None:
    """Make a directory that of a run, without what a killed process has left half written."""
    mark(run_dir, started=datetime.now().strftime(f"{TIME}_%f"), outcome="")
    for half_written in run_dir.glob(".*.*.tmp"):
        with suppress(OSError):
            half_written.unlink()


def mark(run_dir: Path, **notes: str) -> None:
    """Note something of a run in its mark."""
    write_json(read_mark(run_dir) | notes, run_dir / MARK_NAME)


def discard(made: list[Path], with_files: bool = True) -> None:
    """Remove the folders that `make_run_dir` has made, files included, where no run has begun."""
    if with_files and made and not is_run(made[0]):
        shutil.rmtree(made[0], ignore_errors=True)
    for folder in made:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def saved_epochs(run_dir: Path) -> list[int]:
    """The numbers of the epochs of which a run has a checkpoint, the highest last."""
    numbers = [path.stem.rpartition("epoch")[2] for path in run_dir.glob(EPOCH_NAME.format("*"))]
    return sorted(int(number) for number in numbers if number.isdecimal())


def remove_old(run_dir: Path, keep_last: int | None, epochs_done: int) -> None:
    """Delete all but the newest `keep_last` checkpoints of epochs in a run; None keeps all.

    Those of more than `epochs_done` are the oldest: the run has gone on from one before them.
    """
    if keep_last is None or not is_run(run_dir):
        return
    epochs = sorted(saved_epochs(run_dir), key=lambda n: (n <= epochs_done, n))
    for epoch in epochs[:-keep_last]:
        with suppress(OSError):  # one that cannot be deleted ends no run
            (run_dir / EPOCH_NAME.format(epoch)).unlink()
