"""Which checkpoint to take for `-r auto` and `-r best`.

What the files say decides, not their times, which a copy changes.
"""

import csv
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any

from utils import distributed
from utils.checkpoint import damage, number_of, peek
from utils.errors import UserError
from utils.run_dir import BEST_NAME, LAST_NAME, is_run, last_start, read_starts

NAMES = ("auto", "best")


def find_named(config: Any, name: str, to_train: bool = False) -> Path | None:
    """The newest checkpoint ("auto") of the runs of a config, or that of the best epoch ("best").

    Both are of the run that was last started. None for "auto" with `to_train` where there is no run
    or the last one is over. Raises UserError where there is none otherwise.
    """
    paths = find_checkpoints([config.runs_dir])
    if name == "best":
        paths = [path for path in paths if path.parent == paths[0].parent]
        paths = [path for path in paths if path.name == BEST_NAME]
    path = first_complete(config, paths)
    if path is None and not (to_train and name == "auto"):
        where = f"there is no such checkpoint in {config.runs_dir}"
        raise UserError(f"command line: -r {name}: {where}")
    if path is not None and to_train and name == "auto" and is_over(path):
        say(config, "-r auto: the last run is over, a new one begins; -r %s goes on with it", path)
        return None
    return path


def say(config: Any, line: str, path: Path) -> None:
    if distributed.is_main():
        config.get_logger("train").warning(line, path)


def first_complete(config: Any, paths: Iterable[Path]) -> Path | None:
    """The first checkpoint that is not damaged. A line says which are."""
    for path in paths:
        if damage(path) is None:
            return path
        say(config, "%s is damaged, looking for the one before it", path)
    return None


def find_checkpoints(folders: Iterable[Path]) -> list[Path]:
    """All checkpoints of the runs in `folders`, the newest of the run last started first."""
    found: dict[Path, list[Path]] = {}
    for path in (path for folder in folders for path in folder.rglob("*.pth")):
        if not path.name.startswith(".") and path.exists():
            found.setdefault(path.parent, []).append(path)
    runs = sorted(filter(is_run, found), key=lambda run: (last_start(run), run.name), reverse=True)
    ordered = []
    for run in runs:
        done = epochs_done(run)
        position = {path: position_of(path, done) for path in found[run]}
        ordered += sorted(found[run], key=position.__getitem__, reverse=True)
    return ordered


def position_of(path: Path, epochs_done: float) -> tuple[bool, float, int, bool]:
    """What checkpoints of a run are sorted by: epochs, then batches of the next one.

    One with more than `epochs_done` comes before: the run has gone on from one before it.
    """
    epoch: float | None = number_of(path)
    batch_idx = 0
    if epoch is None:
        state = peek(path)
        epoch, batch_idx = state.get("epoch", 0), state.get("batch_idx", 0)
        if not state:
            epoch = inf if damage(path) else -1  # a line is to say that it is damaged
    is_left = epochs_done < epoch < inf
    return not is_left, epoch, batch_idx, path.name == LAST_NAME


def epochs_done(run_dir: Path) -> float:
    """By metrics.csv, where a resume from an earlier checkpoint deletes lines; inf without it."""
    path = run_dir / "metrics.csv"
    if not path.exists():
        return inf
    with path.open(newline="", encoding="utf-8") as file:
        return max((float(row["epoch"]) for row in csv.DictReader(file)), default=0)


def is_over(path: Path) -> bool:
    """Whether the run of a checkpoint is at its end: all epochs are done, or it stopped early.

    One that was killed between its last epoch and its end is not: the report may be missing.
    """
    state, starts = peek(path), read_starts(path.parent)
    settings = (state.get("config") or {}).get("trainer", {})
    is_stopped = 0 < (settings.get("early_stop") or 0) <= state.get("not_improved_count", 0)
    is_at_end = state.get("epoch", 0) >= settings.get("epochs", inf) or is_stopped
    how = starts[-1].get("how") if starts else "finished"
    return is_at_end and how in ("finished", "stopped early")
