import json
import os
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError
from utils.optional import need_tool

PROJECT_DIR = Path(__file__).resolve().parent.parent


def project_path(path):
    """A path of the config as an absolute one: relative paths start at the project's folder."""
    return PROJECT_DIR / Path(path).expanduser()


def ensure_dir(dirname):
    Path(dirname).mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_write(path, mode="w"):
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
    if os.name == "posix":  # the new name itself is on the disk only when its directory is
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write_json(content, path, indent=4):
    with atomic_write(path) as file:
        json.dump(content, file, indent=indent, ensure_ascii=False)
        file.write("\n")


def read_config(path):
    """The mapping in a JSON or YAML file.

    Raises UserError where the file is missing, cannot be parsed, gives a key twice, or does not
    hold a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise UserError(f"{path}: cannot be read: {reason}") from None
    try:
        config = _parse_yaml(text) if path.suffix in (".yaml", ".yml") else _parse_json(text)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: must hold a mapping of keys to values, not {_kind(config)}")
    return config


def _kind(value):
    return "nothing" if value is None else f"a {type(value).__name__}"


def unique(pairs):
    mapping = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError(f"key {key!r} must be a string")
        if key in mapping:
            raise ValueError(f"key {key!r} is given twice in the same block")
        mapping[key] = value
    return mapping


def _parse_json(text):
    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise ValueError(f"not valid JSON at {place}: {error.msg}") from None


def _parse_yaml(text):
    try:
        return need_tool("yaml_config", "YAML").parse(text)
    except ImportError:
        raise ValueError("reading YAML takes PyYAML: pip install pyyaml") from None
