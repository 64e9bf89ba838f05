"""Turn a sharded checkpoint, a folder, into one file beside it."""

from parse_config import ConfigParser
from tools import for_one_process
from tools.fsdp import load_whole
from utils import checkpoint
from utils.errors import UserError
from utils.files import find_file

FLAG = {"metavar": "FOLDER", "help": "make one file of a sharded checkpoint"}


def run(_: ConfigParser, value: str) -> None:
    """Write the file and print its path. Raises UserError where there is no such folder."""
    for_one_process("--unshard")
    folder = find_file(value)
    if not (folder / ".metadata").exists():
        raise UserError(f"{folder}: is no sharded checkpoint, or not a complete one")
    path = folder.with_name(f"{folder.stem}_whole.pth")
    checkpoint.save(load_whole(folder), path)
    print(path)
