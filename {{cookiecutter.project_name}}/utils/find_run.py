"""What `-r` means, a checkpoint or `auto` or `best`; parse_config.py asks where it is given."""

from logging import getLogger
from pathlib import Path
from typing import Any

from utils.checkpoint import read
from utils.errors import UserError
from utils.files import find_file
from utils.run_dir import BEST_NAME, EPOCH_NAME, LAST_NAME, MARK_NAME, read_mark, saved_epochs

OVER = ("finished", "stopped early")  # outcomes of a run that `-r auto` leaves alone


def config_of_run(
    parser: Any, args: Any, file: Path, modification: dict[Any, Any], to_train: bool
) -> Any:
    """The config of a run that goes on, from its checkpoint; with -c, or of a new run, from `file`.

    With `to_train`, `-r auto` stands for a new run where the last one is over.
    """
    path: Path | None
    if is_named := args.resume in ("auto", "best"):
        path = find_named(parser.from_file(file, modification), args.resume, to_train)
    else:
        path = find_file(args.resume)
    if path is None or (args.config and not is_named):
        return parser.from_file(file, modification, resume=path)
    if not (found := read(path).get("config")):
        raise UserError(f"{path}: has no config in it: give one with -c")
    return parser(found, path, modification, source=path)


def newest_intact(run_dir: Path) -> Path | None:
    """The newest checkpoint of a run that can be read: last.pth, else by the number in the name."""
    names = map(EPOCH_NAME.format, reversed(saved_epochs(run_dir)))
    for path in [run_dir / name for name in (LAST_NAME, *names, BEST_NAME)]:
        try:
            if path.exists():
                read(path)
                return path
        except UserError as error:
            getLogger("train").info("%s; looking for the one before it", error)
    return None


def find_named(config: Any, name: str, to_train: bool = False) -> Path | None:
    """The newest checkpoint ("auto") of the run of a config last started, or its best ("best").

    None for "auto" with `to_train` where there is none, or the run is over; else UserError.
    """
    logger = config.get_logger("train")
    runs = [mark.parent for mark in config.runs_dir.rglob(MARK_NAME)]
    runs.sort(key=lambda run: (read_mark(run).get("started", ""), run.name), reverse=True)
    path = next(filter(None, map(newest_intact, runs)), None)
    if name == "auto" and to_train:
        if path is not None and read_mark(path.parent).get("outcome") in OVER:
            line = "-r auto: the last run is over, a new one begins; -r %s goes on with it"
            logger.info(line, path)
            return None
        return path
    if path is not None and name == "best":
        path = path.with_name(BEST_NAME)
    if path is not None and path.exists():
        return path
    raise UserError(f"command line: -r {name}: there is no such checkpoint in {config.runs_dir}")
