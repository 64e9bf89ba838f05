"""What the user has added to the files of the old base, or changed there: what from_old.py has."""

import ast
from dataclasses import dataclass, field
from typing import Any

from migrating.carry import NEW_PLACES, WRITERS, Carried, carry, read_on_self
from migrating.imports import FROM_OLD, absolute, bound_at_top, module_of
from migrating.known import FUNCTIONS, compare, versions
from migrating.source import loaded
from migrating.tree import BASE, CLASSES, OldProject

HEAD = '"""Of the old project: {files}. migrate.py has put it here."""\n\n'


@dataclass
class Part:
    """What is carried over of a part of the base: base, logger, utils or parse_config."""

    package: str
    wanted: set[str]  # functions of the old base that others import, and that are no more
    files: dict[str, None] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    imports: dict[str, None] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def target(self) -> str:
        return FROM_OLD[self.package].replace(".", "/") + ".py"

    def text(self, exported: set[str]) -> str:
        """The file; `exported` are names of the new part that others read from this one."""
        parts = [HEAD.format(files=", ".join(self.files)) + "\n".join(self.imports)]
        if more := sorted(one for one in exported - self.names if not one.startswith("_")):
            parts[0] += f"\nfrom {self.package} import {', '.join(more)}  # noqa: F401"
        return "\n\n\n".join([parts[0].rstrip(), *(one.rstrip() for one in self.bodies)]) + "\n"


def carried_classes(old: OldProject) -> dict[str, Carried]:
    """What becomes of each class of the old base."""
    own = [tree for file, tree in old.trees.items() if file not in BASE]
    used = set().union(*map(read_on_self, own))
    return {name: carry(name, one, old.text(one.file), used) for name, one in old.classes.items()}


def draws_validation_anew(classes: dict[str, Carried]) -> bool:
    """Whether today's BaseDataLoader draws the validation part, and not code of the old one."""
    loader = classes.get("BaseDataLoader")
    if loader is None or loader.is_as_it_was:
        return False
    return "def _split_sampler" not in loader.text


def part_of(old: OldProject, package: str, classes: dict[str, Carried], wanted: set[str]) -> Part:
    """What is to be carried over of a part of the base."""
    part = Part(package, wanted)
    for file in old.base_files:
        if file.endswith(".py") and module_of(file).partition(".")[0] == package:
            _add_file(part, old, file, classes)
    if package == "base" and "BaseTrainer" in old.classes:
        _use_writer(part, old, classes)
    return part


def _add_file(part: Part, old: OldProject, file: str, classes: dict[str, Carried]) -> None:
    text = old.text(file)
    tree = ast.parse(text)
    lines = text.splitlines()
    used: set[str] = set()
    own: dict[str, Any] = {}
    for node in tree.body:
        name = getattr(node, "name", "")
        if (
            isinstance(node, ast.ClassDef)
            and name in old.classes
            and file == old.classes[name].file
        ):
            found = classes[name]
            part.kept += found.kept
            part.left += found.left
            if found.text:
                place, new = NEW_PLACES[name]
                if not found.is_as_it_was:
                    part.imports[f"from {place} import {new} as New{new}"] = None
                part.imports |= dict.fromkeys(found.imports)
                part.bodies.append(found.text)
                part.names.add(name)
                used |= loaded(ast.parse(found.text))
            else:
                own[name] = node
        elif _is_own(part, file, node):
            part.bodies.append(_with_decorators(lines, node))
            part.names |= bound_at_top(node) - {"__all__"}
            used |= loaded(node)
        elif bound := bound_at_top(node):
            own |= dict.fromkeys(bound, node)
    if used:
        part.files[file] = None
        _needed(part, tree, file, used - part.names, own, lines)


def _is_own(part: Part, file: str, node: Any) -> bool:
    """Whether a statement is the user's: added to the file, or a changed function of the base."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return False
    if isinstance(node, FUNCTIONS) and node.name in versions():
        difference = compare(node.name, node)
        if difference is None:
            return node.name in part.wanted
        where = f"{file}:{node.lineno}: {node.name}"
        if part.package in ("logger", "parse_config"):
            part.left.append(f"{where} {difference.words()}: today's is used")
            return False
        if not difference.added and not difference.other_signature:
            part.left.append(f"{where} {difference.words()}: today's is used")
            return False
        part.kept.append(f"{where}: as it is")
        return True
    if isinstance(node, (ast.ClassDef, *FUNCTIONS)):
        return node.name not in CLASSES
    if isinstance(node, ast.Expr):
        is_harmless = isinstance(node.value, ast.Constant) or "basicConfig" in ast.unparse(node)
        if not is_harmless:
            part.left.append(f"{file}:{node.lineno}: not carried over: {ast.unparse(node)[:70]}")
        return False
    if isinstance(node, (ast.If, ast.Try)) and "__name__" in ast.unparse(node):
        part.kept.append(f"{file}:{node.lineno}: its main block is left out, as nothing runs it")
        return False
    return bool(bound_at_top(node) - {"__all__"})


def _needed(
    part: Part, tree: ast.Module, file: str, used: set[str], own: dict[str, Any], lines: list[str]
) -> None:
    """The imports that carried code uses, and what the file defines for it."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            for one in node.names:
                if (one.asname or one.name.split(".")[0]) in used:
                    part.imports[ast.unparse(ast.Import([one]))] = None
        elif isinstance(node, ast.ImportFrom):
            module = absolute(file, node)
            for one in node.names:
                if one.name == "*" or (one.asname or one.name) in used:
                    part.imports[f"from {module} import {ast.unparse(one)}"] = None
    for name, node in own.items():
        is_class = isinstance(node, ast.ClassDef)
        if (
            name in used
            and name not in part.names
            and not isinstance(node, (ast.Import, ast.ImportFrom))
        ):
            if is_class:
                part.imports[f"from {module_of(file)} import {name}"] = None
            else:
                part.bodies.insert(0, _with_decorators(lines, node))
                part.names |= bound_at_top(node)
                _needed(part, tree, file, loaded(node) - part.names, own, lines)


def _use_writer(part: Part, old: OldProject, classes: dict[str, Carried]) -> None:
    """Let the trainer write with the old project's own writer, where that has more methods."""
    writer = next((one for one in WRITERS if one in classes and classes[one].text), None)
    if writer is None:
        return
    line = (
        f"        self.writer = {writer}(\n"
        "            self.config.log_dir, self.logger, self.writer.enabled\n        )\n"
    )
    if "BaseTrainer" not in part.names:
        place, new = NEW_PLACES["BaseTrainer"]
        part.imports[f"from {place} import {new} as New{new}"] = None
        head = "class BaseTrainer(NewBaseTrainer):\n    def __init__(self, *args, **kwargs):\n"
        part.bodies.append(head + "        super().__init__(*args, **kwargs)\n" + line)
        part.names.add("BaseTrainer")
        part.files[old.classes["BaseTrainer"].file] = None
    else:
        at = next(i for i, one in enumerate(part.bodies) if one.startswith("class BaseTrainer("))
        part.bodies[at] = _after_super(part.bodies[at], line)
    part.imports[f"from {module_of(old.classes[writer].file)} import {writer}"] = None


def _after_super(text: str, line: str) -> str:
    lines = text.splitlines(keepends=True)
    for number, one in enumerate(lines):
        if one.startswith("        super().__init__("):
            return "".join([*lines[: number + 1], line, *lines[number + 1 :]])
    init = "    def __init__(self, *args, **kwargs):\n        super().__init__(*args, **kwargs)\n"
    return text.rstrip() + "\n\n" + init + line


def _with_decorators(lines: list[str], node: Any) -> str:
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    return "\n".join(lines[first - 1 : node.end_lineno])
