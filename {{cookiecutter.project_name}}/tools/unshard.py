"""Turn a sharded checkpoint, a folder, into one file beside it."""

from pathlib import Path

from utils import UserError, checkpoint


def run(_, folder):
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder, and so no sharded checkpoint")
    path = folder.with_name(f"{folder.stem}_whole.pth")
    checkpoint.save(checkpoint.load(folder), path)
    print(path)
