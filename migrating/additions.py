"""What the user has added to the files of the old base: helpers in utils/util.py and the like."""

import ast
from collections.abc import Callable
from typing import Any

from migrating.source import defined
from migrating.tree import OF_BASE, OldProject

HEAD = '"""What the old project had in {files} besides the base; migrate.py has put it here."""\n\n'


def additions(old: OldProject, package: str, exported: set[str]) -> tuple[str, set[str]] | None:
    """The text of <package>/from_old.py and the names in it; None where nothing was added."""
    bodies: list[str] = []
    imports: dict[str, None] = {}
    names: set[str] = set()
    files: list[str] = []
    for name in old.base_files:
        if not name.startswith(package + "/") or not name.endswith(".py"):
            continue
        text = old.text(name)
        tree = ast.parse(text)
        own = [node for node in tree.body if _is_addition(node)]
        if own:
            files.append(name)
            used = {n.id for node in own for n in ast.walk(node) if isinstance(n, ast.Name)}
            imports |= _imports_used(tree, used)
            bodies += [_with_decorators(text, node) for node in own]
            names |= set().union(*map(defined_in, own)) - set(OF_BASE)
    if not bodies:
        return None
    text = HEAD.format(files=", ".join(files)) + "\n".join(imports)
    if base := sorted(
        name for name in exported if not name.startswith("_")
    ):  # the helpers of the base, which were in the same file
        text += f"\nfrom {package} import {', '.join(base)}  # noqa: F401"
    return text.rstrip() + "\n\n\n" + "\n\n\n".join(bodies) + "\n", names


def _is_addition(node: ast.stmt) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return node.name not in OF_BASE
    if isinstance(node, (ast.If, ast.Try)) and "__name__" in ast.unparse(node):
        return False
    is_block = isinstance(node, (ast.Assign, ast.If, ast.Try))
    return is_block and bool(defined_in(node) - {"__all__", *OF_BASE})


def defined_in(node: Any) -> set[str]:
    """The names that a statement defines, inside of its branches too."""
    if isinstance(node, (ast.If, ast.Try)):
        inner = [*node.body, *node.orelse, *getattr(node, "finalbody", [])]
        inner += [one for handler in getattr(node, "handlers", []) for one in handler.body]
        return set().union(*map(defined_in, inner))
    return defined(ast.Module([node], []))


def _with_decorators(text: str, node: Any) -> str:
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


def _imports_used(tree: ast.Module, used: set[str]) -> dict[str, None]:
    """The imports at the top that bind a name in `used`."""
    found: dict[str, None] = {}
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for one in node.names:
                if (one.asname or one.name.split(".")[0]) in used:
                    alone = (
                        ast.Import([one])
                        if isinstance(node, ast.Import)
                        else ast.ImportFrom(node.module, [one], node.level)
                    )
                    found[ast.unparse(alone)] = None
    return found


def changes_of_base(old: OldProject, new_text: Callable[[str], str | None]) -> list[str]:
    """What the user's copy of a base class can do that the new one cannot, as notes."""
    notes = []
    for name in old.base_files:
        is_class = name.startswith("base/") and name != "base/__init__.py"
        if is_class and (text := new_text(name)) is not None:
            before, now = _members(old.text(name)), _members(text)
            extra = sorted(before - now - KNOWN_MEMBERS)
            if extra:
                notes.append(f"{name}: the new one has no {', '.join(extra)}; see what they did")
    return notes


KNOWN_MEMBERS = {"_prepare_device", "summary"}


def _members(text: str) -> set[str]:
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    return {
        node.name
        for one in classes
        for node in one.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("__")
    }
