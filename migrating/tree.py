"""The old project: which files are the user's, which the old base's, and what era it is from."""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrating.errors import UserError

# The files of the old base: never carried over, but for what the user has added to them
BASE = """
    parse_config.py base/__init__.py base/base_data_loader.py base/base_model.py
    base/base_trainer.py logger/__init__.py logger/logger.py logger/visualization.py
    logger/logger_config.json utils/__init__.py utils/util.py utils/logger.py
    utils/visualization.py new_project.py
""".split()
# What the old base defines at the top of these files
OF_BASE = """
    BaseDataLoader BaseModel BaseTrainer ConfigParser MetricTracker TensorboardWriter Timer
    WriterTensorboardX ensure_dir inf_loop prepare_device read_json setup_logging setup_logger
    write_json _get_by_path _get_opt_name _set_by_path _update_config
""".split()
SKIPPED_FOLDERS = {"__pycache__", ".git", ".idea", ".vscode", ".ipynb_checkpoints", ".venv", "venv"}
MAX_BYTES = 50_000_000
CHECKPOINTS = (".pth", ".pth.tar", ".pt", ".ckpt")


@dataclass
class OldProject:
    root: Path
    era: str
    user_files: list[str]  # to be carried over
    base_files: list[str]
    checkpoints: list[str]
    large_files: list[str]  # left where they are

    def text(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8-sig", errors="surrogateescape")

    def base_class(self) -> ast.ClassDef:
        return trainer_class(self.text("base/base_trainer.py"))

    def configs(self) -> dict[str, dict[str, Any]]:
        """The JSON files that are configs, by name, config.json first."""
        found = {}
        for name in sorted(self.user_files, key=lambda one: (one != "config.json", one)):
            if name.endswith(".json"):
                try:
                    content = json.loads(self.text(name))
                except ValueError:
                    continue
                if isinstance(content, dict) and isinstance(content.get("trainer"), dict):
                    found[name] = content
        return found


def trainer_class(text: str) -> ast.ClassDef:
    """The class BaseTrainer. Raises StopIteration where there is none with an __init__."""
    classes = [one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.ClassDef)]
    found = next(one for one in classes if one.name == "BaseTrainer")
    next(one for one in found.body if getattr(one, "name", "") == "__init__")
    return found


def read(root: Path) -> OldProject:
    """What an old project is made of. Raises UserError where the folder is none."""
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder")
    names = sorted(_files(root))
    era = _era(root, names)
    user: list[str] = []
    base: list[str] = []
    checkpoints: list[str] = []
    large: list[str] = []
    for name in names:
        if name in BASE:
            base.append(name)
        elif name.endswith(CHECKPOINTS):
            checkpoints.append(name)
        elif name.split("/")[0] == "saved":
            continue  # logs and configs of old runs stay where they are
        elif (root / name).stat().st_size > MAX_BYTES:
            large.append(name)
        else:
            user.append(name)
    project = OldProject(root, era, user, base, checkpoints, large)
    for name in base:
        if name.endswith(".py"):
            _parse(root, name, project.text(name))
    return project


def _parse(root: Path, name: str, text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except ValueError:
        raise UserError(f"{root}/{name}: is not UTF-8 text") from None
    except SyntaxError as error:
        raise UserError(f"{root}/{name}:{error.lineno}: no Python of today: {error.msg}") from None


def _files(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if path.is_file() and not SKIPPED_FOLDERS & set(parts) and path.suffix != ".pyc":
            yield "/".join(parts)


def _era(root: Path, names: list[str]) -> str:
    if "base/base_trainer.py" not in names:
        what = "base/base_trainer.py, as projects in the layout of victoresque's template"
        raise UserError(f"{root}: has no {what} do")
    text = (root / "base/base_trainer.py").read_text(encoding="utf-8", errors="surrogateescape")
    _parse(root, "base/base_trainer.py", text)
    try:
        trainer: Any = trainer_class(text)
    except StopIteration:
        raise UserError(
            f"{root}/base/base_trainer.py: no class BaseTrainer with an __init__"
        ) from None
    arguments = [
        one.arg
        for node in trainer.body
        if getattr(node, "name", "") == "__init__"
        for one in node.args.args
    ]
    if "parse_config.py" not in names or "resume" in arguments:
        return "2018: a dict for the config, the checkpoint to resume handed to the trainer"
    parse_config = (root / "parse_config.py").read_text(encoding="utf-8", errors="replace")
    if "from_args" not in parse_config:
        return "early 2019: ConfigParser(args, options), config.initialize"
    if "prepare_device" in ast.unparse(trainer):
        return "2019 to 2020: ConfigParser.from_args, config.init_obj, the device in the trainer"
    return "December 2020 or later: as before, prepare_device called by train.py"
