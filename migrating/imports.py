"""Where each name that the old project imports is now, and its imports written anew."""

import ast
import builtins
from collections.abc import Iterator
from typing import Any, NamedTuple

from migrating.carry import NEW_PLACES
from migrating.source import Source, dotted, loaded, stored
from migrating.tree import BASE

NamesIn = dict[str, set[str]]  # the names that each module has
# The parts that the new project has anew, and where what the old project had in them is now
FROM_OLD = {
    "base": "base.from_old",
    "logger": "logger.from_old",
    "utils": "utils.from_old",
    "parse_config": "old_parse_config",
}


class Place(NamedTuple):
    """Where a name is now: `from module import name`; `import module` where name is ""."""

    module: str
    name: str

    def line(self, bound: str) -> str:
        last = self.module.rpartition(".")[2]
        if not self.name:
            return f"import {self.module}" + f" as {bound}" * (bound != self.module)
        if (self.module, self.name) == (bound, bound):
            return f"import {last}"
        return f"from {self.module} import {self.name}" + f" as {bound}" * (bound != self.name)


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def absolute(name: str, node: Any) -> str:
    """The module that an import in the file `name` is from, seen from the top of the project."""
    if node.level == 0:
        return str(node.module)
    above = name.split("/")[: -node.level]
    return ".".join([*above, *filter(None, [node.module])])


class Imports:
    """`trees` are those of the old project, `new` the names in each module of the new one,
    `added` what is carried over of each part, `renamed` the user's modules with other names now.
    """

    def __init__(
        self,
        trees: dict[str, ast.Module],
        new: NamesIn,
        added: NamesIn,
        renamed: dict[str, str] | None = None,
    ) -> None:
        self.trees = {module_of(file): tree for file, tree in trees.items()}
        self.of_user = [tree for file, tree in trees.items() if file not in BASE]
        self.files = {module_of(file): file for file in trees}
        self.new, self.added, self.renamed = new, added, renamed or {}
        self.starred = {
            absolute(file, node)
            for file, tree in trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        }

    def __call__(self, source: Source) -> None:
        for node in source.nodes(ast.Import):
            self._import(source, node)
        for node in source.nodes(ast.ImportFrom):
            module = absolute(source.name, node)
            if self._is_anew(module) or self._renamed(module) != module:
                self._import_from(source, node, module)

    # Where a name is

    def place(self, module: str, name: str, seen: tuple[Any, ...] = ()) -> Place | None:
        """Where `name` of the old `module` is now; None where it is nowhere."""
        if (module, name) in seen:
            return None
        seen = (*seen, (module, name))
        package = module.partition(".")[0]
        if not self._is_anew(module):
            return Place(self._renamed(module), name)
        if name in self.added.get(package, ()):
            return Place(FROM_OLD[package], name)
        found = self._place_by_old_imports(module, name, seen)
        if found is not None and self._is_of_user(found):  # it may have a name of today's too
            return found
        for here in (module, package):
            if name in self.new.get(here, ()):
                return Place(here, name)
        if (inner := f"{module}.{name}") in self.files or inner in self.new:
            return self._place_of_module(inner, name)
        if found is not None:
            return found
        modules = [one for one in self.new if one.startswith(f"{package}.")]
        modules += [
            one for one in self.files if one.startswith(f"{package}.") and one not in modules
        ]
        for one in modules:
            if name in self.new.get(one, ()) or (
                not self._is_anew(one) and name in self._defined(one)
            ):
                return Place(self._renamed(one), name)
        return Place(*NEW_PLACES[name]) if name in NEW_PLACES else None  # under another name

    def _place_of_module(self, module: str, name: str) -> Place:
        if not self._is_anew(module):
            parent, _, last = self._renamed(module).rpartition(".")
            return Place(parent, last)
        package = module.partition(".")[0]
        if module in self.new:
            return Place(package, name)
        if self.added.get(package):
            return Place(package, FROM_OLD[package].rpartition(".")[2])
        return Place(package, "")

    def _place_by_old_imports(self, module: str, name: str, seen: Any) -> Place | None:
        """Follow the imports of an old module to where the name comes from."""
        for node in ast.walk(self.trees.get(module, ast.Module([], []))):
            if isinstance(node, ast.Import):
                for one in node.names:
                    if name == (one.asname or one.name.partition(".")[0]):
                        return Place(one.name if one.asname else name, "")
            elif isinstance(node, ast.ImportFrom):
                origin = absolute(self.files[module], node)
                is_ours = origin in self.files or self._is_anew(origin)
                for one in node.names:
                    if one.name == "*" and is_ours and name in self.public(origin):
                        if found := self.place(origin, name, seen):
                            return found
                    elif name == (one.asname or one.name):
                        place = self.place(origin, one.name, seen) if is_ours else None
                        return place if is_ours else Place(origin, one.name)
        return None

    def public(self, module: str, seen: tuple[str, ...] = ()) -> set[str]:
        """What `from module import *` gave in the old project."""
        tree = self.trees.get(module)
        if tree is None or module in seen:
            return set()
        names = self._defined(module)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                names |= self.public(absolute(self.files[module], node), (*seen, module))
            if isinstance(node, ast.Assign) and dotted(node.targets[0]) == "__all__":
                if isinstance(node.value, (ast.List, ast.Tuple)):
                    return {getattr(one, "value", "") for one in node.value.elts}
        return {one for one in names if not one.startswith("_") and one != "*"}

    def _defined(self, module: str) -> set[str]:
        tree = self.trees.get(module)
        return set().union(*(bound_at_top(one) for one in tree.body)) if tree else set()

    def _is_anew(self, module: str) -> bool:
        """Whether a module was of the old base: the new project has another in its place."""
        file = self.files.get(module)
        if file is not None:
            return file in BASE
        return module.partition(".")[0] in FROM_OLD and module not in self.renamed

    def _is_of_user(self, place: Place) -> bool:
        """Whether a file that is carried over defines a name, and does not import it itself."""
        kinds = (ast.Import, ast.ImportFrom)
        return any(
            place.name in bound_at_top(node)
            for module, tree in self.trees.items()
            if self._renamed(module) == place.module and not self._is_anew(module)
            for node in tree.body
            if not isinstance(node, kinds)
        )

    def _renamed(self, module: str) -> str:
        parts = module.split(".")
        for n in range(len(parts), 0, -1):
            if (head := ".".join(parts[:n])) in self.renamed:
                return ".".join([self.renamed[head], *parts[n:]])
        return module

    # Imports

    def _import(self, source: Source, node: Any) -> None:
        lines: list[str] = []
        for one in node.names:
            new = self._renamed(one.name)
            if new != one.name:
                if one.asname or "." not in one.name:
                    lines.append(f"import {new} as {one.asname or one.name}")
                else:
                    lines.append(f"import {new}")
                    self._rename_uses(source, one.name, new)
            elif self._is_anew(one.name) and one.name != "parse_config":
                package = one.name.partition(".")[0]
                is_there = one.name in self.new
                if one.asname is None and "." not in one.name:
                    lines += [f"import {one.name}", *self._uses_of_package(source, one.name)]
                elif is_there and not self.added.get(package):
                    lines.append(ast.unparse(ast.Import([one])))
                elif one.asname:
                    target = FROM_OLD[package] if self.added.get(package) else package
                    lines.append(place_of_dotted(target).line(one.asname))
                else:
                    lines.append(ast.unparse(ast.Import([one])))
                    if not is_there:
                        source.note(node, f"there is no {one.name} any more")
            elif one.name == "parse_config" and self.added.get("parse_config"):
                lines.append(f"import old_parse_config as {one.asname or one.name}")
            else:
                lines.append(ast.unparse(ast.Import([one])))
        if lines != [ast.unparse(ast.Import([one])) for one in node.names]:
            self._replace(source, node, lines, "some of it has another name now")

    def _uses_of_package(self, source: Source, package: str) -> list[str]:
        """`utils.name` where `import utils` is all: from where the name is now, and its import."""
        found: dict[str, None] = {}
        for node in source.nodes(ast.Attribute):
            if dotted(node.value) != package:
                continue
            place = self.place(package, node.attr)
            if place is not None and place.name and place.module.startswith(f"{package}."):
                reason = f"{package}.{node.attr} is in {place.module} now"
                source.replace(node, f"{place.module}.{place.name}", reason)
                found[f"import {place.module}"] = None
            elif place is None or place.module != package:
                source.note(node, f"{package} has no {node.attr} any more")
        return list(found)

    def _rename_uses(self, source: Source, before: str, after: str) -> None:
        for one in source.nodes(ast.Attribute):
            if dotted(one) == before:
                source.replace(one, after, f"{before} is called {after} now")

    def _import_from(self, source: Source, node: Any, module: str) -> None:
        if (node.names[0].asname or "").startswith("New"):  # of from_old.py
            return
        if node.names[0].name == "*":
            if not self._is_anew(module):
                new = self._renamed(module)
                self._replace(source, node, [f"from {new} import *"], f"{module} is {new} now")
                return
            self._star(source, node, module)
            return
        lines: dict[str, None] = {}
        gone = []
        for one in node.names:
            place = self.place(module, one.name)
            if place is None:
                gone.append(one.name)
            elif place.module != module_of(source.name):
                lines[place.line(one.asname or one.name)] = None
        if gone:
            source.note(node, f"{module} has no {', '.join(gone)} any more")
        if lines or not gone:
            before = [f"from {module} import {ast.unparse(one)}" for one in node.names]
            if list(lines) != before or node.level and not source.name.count("/"):
                reason = f"some names of {module} are elsewhere now"
                self._replace(source, node, merged(lines), reason)

    def _star(self, source: Source, node: Any, module: str) -> None:
        """The names that a file uses of those that * gave it."""
        own = set().union(*(stored(one) for one in source.tree.body if not _is_star(one)))
        names = self.public(module) - own
        is_read_alone = module_of(source.name) not in self.starred
        if is_read_alone and not source.name.endswith("__init__.py"):
            names &= loaded(source.tree)
        else:  # others may get them from here by *
            names &= set().union(*map(loaded, self.of_user))
        lines: dict[str, None] = {}
        for name in sorted(names - set(vars(builtins))):
            place = self.place(module, name)
            if place is None:
                source.note(node, f"{module} has no {name} any more, which is used here")
            elif place.module != module_of(source.name):
                lines[place.line(name)] = None
        reason = f"{module} gave these names by *; some are elsewhere now"
        self._replace(source, node, merged(lines), reason)

    @staticmethod
    def _replace(source: Source, node: Any, lines: list[str], reason: str) -> None:
        text = ("\n" + " " * node.col_offset).join(lines)
        if text:
            source.replace(node, text, reason)
        else:
            source.drop(node, reason)


def _is_star(node: Any) -> bool:
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


def merged(lines: dict[str, None]) -> list[str]:
    """One line for each module."""
    found: dict[str, list[str]] = {}
    for line in lines:
        head, is_from, name = line.partition(" import ")
        found.setdefault(head if is_from else line, []).append(name)
    return [
        f"{head} import {', '.join(names)}" if head.startswith("from ") else head
        for head, names in found.items()
    ]


def place_of_dotted(module: str) -> Place:
    parent, _, last = module.rpartition(".")
    return Place(parent, last) if parent else Place(last, "")


def bound_at_top(node: Any) -> set[str]:
    """The names that a statement at the top of a file binds for others."""
    return set(_bound(node))


def _bound(node: Any) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        yield node.name
    elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For)):
        for name in ("body", "orelse", "finalbody", "handlers"):
            for one in getattr(node, name, []):
                yield from _bound(one)
    elif isinstance(node, ast.ExceptHandler):
        for one in node.body:
            yield from _bound(one)
    else:
        yield from stored(node)
