"""Files that are read and written: JSON and YAML, and writing that leaves no half file."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from utils.errors import PROJECT_DIR, UserError, in_full


def project_path(path: str | Path) -> Path:
    """A path of the config as an absolute one: relative paths start at the project's folder."""
    return PROJECT_DIR / Path(path).expanduser()


def find_file(typed: str | Path) -> Path:
    """A file as a user names it: seen from the current directory, else from the project's."""
    inside = project_path(typed)
    return inside if inside.exists() and not Path(typed).exists() else Path(typed)


def ensure_dir(dirname: str | Path) -> None:
    Path(dirname).mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that takes the place of `path` only when it is complete and on the disk.

    A reader, or a crash at any moment, finds the old content or the new one, never a part.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """Wait until the names of the files in a folder are on the disk, as only it has these."""
    if os.name == "posix":
        directory = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # some network drives do not sync folders
            os.fsync(directory)
        os.close(directory)


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(content: Any, path: str | Path, indent: int | None = 4) -> None:
    with atomic_write(path) as file:
        json.dump(content, file, indent=indent, ensure_ascii=False)
        file.write("\n")


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file.

    Raises UserError where it cannot be read or parsed, gives a key twice, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # as some editors on Windows write it
        if path.suffix in (".yaml", ".yml"):
            from utils.yaml_config import parse  # only a config in YAML needs PyYAML

            config = parse(text, unique)
        else:
            config = json.loads(text, object_pairs_hook=unique)
    except ImportError:
        raise UserError(f"{path}: YAML: {in_full()}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: must hold a mapping of keys to values")
    return config


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A block of a config as a dict. Raises ValueError where a key is given twice."""
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"key {key!r} is given twice in the same block")
    return dict(pairs)


def to_plain(value: Any) -> Any:
    """A copy of a config's value as JSON has it: paths as strings, NumPy's numbers as Python's."""
    text = json.dumps(value, default=lambda x: x.tolist() if hasattr(x, "tolist") else str(x))
    return json.loads(text)
