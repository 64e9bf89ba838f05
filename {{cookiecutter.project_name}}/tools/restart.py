"""Going on without being told with what: `-r auto`, and a launch of torchrun that starts anew."""

import tools
from utils import checkpoint, distributed
from utils.checkpoint import LAST_NAME


class Watcher(tools.Watcher):
    def begin(self, trainer):
        """Note which launch of torchrun works on a run, for `find_newest` after a restart."""
        if distributed.launch() is not None and distributed.is_main():
            (trainer.checkpoint_dir / ".torchrun").write_text(distributed.launch())


def take_up_newest(config, is_auto):
    """Let a config go on from the newest checkpoint; after a restart, from that of its own run."""
    if distributed.is_restart():
        config.resume = find_newest(config, distributed.launch())
    if is_auto and config.resume is None:
        config.resume = find_newest(config)


def find_newest(config, launch=None):
    """The newest complete checkpoint of all runs with this name, or of those of a launch.

    Where there is none, what the config has been told to go on from.
    """
    folders = [config.runs_dir]
    if launch is not None:
        marks = config.runs_dir.glob("*/.torchrun")
        folders = [mark.parent for mark in marks if mark.read_text() == launch]
    found, damaged = newest(*folders)
    for path in damaged:
        line = "%s is damaged, looking for the one before it"
        config.get_logger("train").warning(line, path)
    return found or config.resume


def newest(*folders):
    """The newest complete checkpoint below `folders`, or None, and the damaged newer ones."""
    damaged = []
    paths = [path for folder in folders for path in folder.rglob("*.pth")]
    paths = [path for path in paths if not path.name.startswith(".")]
    for path in sorted(
        paths, key=lambda p: (p.stat().st_mtime_ns, p.name == LAST_NAME), reverse=True
    ):
        if is_complete(path):
            return path, damaged
        damaged.append(path)
    return None, damaged


def is_complete(path):
    """Also of the folder that FSDP makes, in which `.metadata` is written last."""
    return (path / ".metadata").exists() if path.is_dir() else checkpoint.damage(path) is None
