"""The old project: which files are the user's, which the old base's, and what era it is from."""

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
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
# The classes of the old base, and methods by which each is known wherever it lies
CLASSES = {
    "BaseDataLoader": "_split_sampler split_validation",
    "BaseModel": "__str__ summary",
    "BaseTrainer": "_train_epoch train",
    "ConfigParser": "init_obj initialize init_ftn",
    "MetricTracker": "update avg result",
    "TensorboardWriter": "set_step __getattr__",
    "WriterTensorboardX": "set_step __getattr__",
    "WriterTensorboard": "set_step __getattr__",
}


@dataclass
class OldClass:
    """A class of the old base as the old project has it."""

    file: str
    node: ast.ClassDef

    @property
    def is_in_base(self) -> bool:
        """Whether it lies where the original has it, in a file that the new project has anew."""
        return self.file in BASE


@dataclass
class OldProject:
    root: Path
    era: str
    user_files: list[str]  # to be carried over
    base_files: list[str]
    checkpoints: list[str]
    large_files: list[str]  # left where they are
    classes: dict[str, OldClass] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8-sig", errors="surrogateescape")

    def base_class(self) -> ast.ClassDef:
        return self.classes["BaseTrainer"].node

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """The syntax trees of all Python files that can be read."""
        found = {}
        for name in [*self.base_files, *self.user_files]:
            if name.endswith(".py"):
                try:
                    found[name] = ast.parse(self.text(name))
                except (ValueError, SyntaxError):  # of which read_sources speaks
                    continue
        return found

    @cached_property
    def configs(self) -> dict[str, dict[str, Any]]:
        """The JSON and YAML files that are configs, by name, config.json first."""
        found = {}
        for name in sorted(self.user_files, key=lambda one: (one != "config.json", one)):
            if name.endswith((".json", ".yaml", ".yml")):
                try:
                    content = parse_config(name, self.text(name))
                except ValueError:
                    continue
                if isinstance(content, dict) and isinstance(content.get("trainer"), dict):
                    found[name] = content
        return found

    @cached_property
    def python_configs(self) -> dict[str, dict[str, Any]]:
        """The same for dicts in Python files that are written out there."""
        found = {}
        for name, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                    with suppress(ValueError, TypeError):
                        content = ast.literal_eval(node.value)
                        if isinstance(content.get("trainer"), dict) and name in self.user_files:
                            found[name] = content
        return found


def parse_config(name: str, text: str) -> Any:
    """What a JSON or YAML file holds. Raises ValueError where it is none."""
    if name.endswith(".json"):
        return json.loads(text)
    import yaml  # cookiecutter brings it

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def trainer_class(text: str) -> ast.ClassDef:
    """The class BaseTrainer of a file. Raises StopIteration where there is none."""
    return next(one for one in ast.parse(text).body if _is_of_base(one, "BaseTrainer"))  # type: ignore[return-value]


def _is_of_base(node: Any, name: str) -> bool:
    if not isinstance(node, ast.ClassDef) or node.name != name:
        return False
    return bool({getattr(one, "name", "") for one in node.body} & set(CLASSES[name].split()))


def find_classes(trees: dict[str, ast.Module]) -> dict[str, OldClass]:
    """Where each class of the old base is; a file of the original's name comes first."""
    found: dict[str, OldClass] = {}
    for name in sorted(trees, key=lambda one: (one not in BASE, one.count("/"), one)):
        nodes: list[Any] = trees[name].body
        for node in nodes:
            is_known = getattr(node, "name", "") in CLASSES and node.name not in found
            if is_known and (name in BASE or _is_of_base(node, node.name)):
                found[node.name] = OldClass(name, node)
    return found


def read(root: Path) -> OldProject:
    """What an old project is made of. Raises UserError where the folder is none."""
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder")
    project = OldProject(root, "", [], [], [], [])
    for name in sorted(_files(root)):
        if name in BASE:
            project.base_files.append(name)
        elif name.endswith(CHECKPOINTS):
            project.checkpoints.append(name)
        elif name.split("/")[0] == "saved":
            continue  # logs and configs of old runs stay where they are
        elif (root / name).stat().st_size > MAX_BYTES:
            project.large_files.append(name)
        else:
            project.user_files.append(name)
    if "train.py" not in project.user_files and (inner := _inner_projects(project.user_files)):
        raise UserError(f"{root}: the project lies below: give {' or '.join(inner)} in its place")
    for name in project.base_files:
        if name.endswith(".py"):
            _parse(root, name, project.text(name))
    project.classes = find_classes(project.trees)
    project.era = _era(project)
    return project


def _inner_projects(files: list[str]) -> list[str]:
    """The folders with a train.py and a folder `base`, such as src."""
    folders = [name.removesuffix("/train.py") for name in files if name.endswith("/train.py")]
    return [one for one in folders if any(name.startswith(f"{one}/base/") for name in files)]


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


def _era(project: OldProject) -> str:
    trainer = project.classes.get("BaseTrainer")
    if trainer is None:
        what = (
            "class BaseTrainer with a train(), as projects in the layout of victoresque's template"
        )
        raise UserError(f"{project.root}: has no {what} do")
    functions = {getattr(one, "name", ""): one for one in trainer.node.body}
    if "__init__" not in functions:
        where = f"{project.root}/{trainer.file}"
        raise UserError(f"{where}: no class BaseTrainer with an __init__")
    init: Any = functions["__init__"]
    names = [one.arg for one in init.args.args]
    if not {"config", "cfg"} & set(names):
        return "early 2018, before configs: BaseTrainer took each value by itself"
    parser = project.classes.get("ConfigParser")
    if parser is None or "resume" in names:
        return "2018: a dict for the config, the checkpoint to resume handed to the trainer"
    if "from_args" not in {getattr(one, "name", "") for one in parser.node.body}:
        return "early 2019: ConfigParser(args, options), config.initialize"
    if "prepare_device" in ast.unparse(trainer.node):
        return "2019 to 2020: ConfigParser.from_args, config.init_obj, the device in the trainer"
    return "December 2020 or later: as before, prepare_device called by train.py"
