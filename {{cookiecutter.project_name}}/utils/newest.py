"""Which checkpoint to go on from: for `-r auto`, and after torchrun has started anew."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from utils import distributed
from utils.checkpoint import damage
from utils.run_dir import LAST_NAME, LAUNCH_NAME


def find_newest(config: Any, is_auto: bool) -> Path | None:
    """The newest complete checkpoint of the runs of a config, with `is_auto`.

    After a restart of torchrun it is that of the run which this launch works on. Where there is
    none, what the config has been told to go on from.
    """
    marks = config.runs_dir.glob(f"*/{LAUNCH_NAME}") if distributed.is_restart() else []
    own = [mark.parent for mark in marks if mark.read_text() == distributed.launch_id()]
    for folders in (own, [config.runs_dir] * is_auto):
        for path in find_checkpoints(folders):
            if damage(path) is None:
                return path
            line = "%s is damaged, looking for the one before it"
            config.get_logger("train").warning(line, path)
    return config.resume


def find_checkpoints(folders: Iterable[Path]) -> list[Path]:
    """All checkpoints below `folders`, the newest first."""
    paths = [path for folder in folders for path in folder.rglob("*.pth")]
    paths = [path for path in paths if not path.name.startswith(".") and path.exists()]
    age = {path: (path.stat().st_mtime_ns, path.name == LAST_NAME) for path in paths}
    return sorted(paths, key=age.__getitem__, reverse=True)
