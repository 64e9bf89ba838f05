"""What the user's own code asks of the old base, and the new one has under another name or not.

Nothing here knows a version of the old base: its own source says what its trainer took and set.
"""

import ast
from typing import Any

from migrating.source import Source, dotted, is_trainer, methods, own_attributes

NamesIn = dict[str, set[str]]  # the names that each package or module has

# The arguments of BaseTrainer, and what they were called before
ARGUMENTS = {
    "model": "model",
    "criterion": "criterion loss",
    "metric_ftns": "metric_ftns metrics",
    "optimizer": "optimizer",
    "config": "config",
}
NO_MORE = {"resume", "train_logger"}
# Attributes that the base set before
ATTRIBUTES = {
    "verbosity": "config['trainer']['verbosity']",
    "with_cuda": "self.device.type == 'cuda'",
    "gpu": "self.device",
    "device_ids": "[]",
}
PACKAGES = ("base", "logger", "utils")
NAMED = "{{{prefix}m.__name__: value for m, value in zip(self.metric_ftns, {values})}}"


class Names:
    """The rules, for a project whose old base and new base are known."""

    def __init__(self, old: Any, new: Any, trainers: list[Any]) -> None:
        self.old_init = methods(old)["__init__"]
        self.old_parameters = [one.arg for one in self.old_init.args.args[1:]]
        self.old_attributes = own_attributes(old)
        self.lists = "'metrics'" in ast.unparse(old)  # train() took lists of metrics
        self.new_attributes = own_attributes(new)
        used: list[set[str]] = [
            {n.attr for n in ast.walk(one) if isinstance(n, ast.Attribute) and on_self(n)}
            for one in trainers
        ]
        own: set[str] = set().union(*map(own_attributes, trainers), *map(methods, trainers))
        missing = self.old_attributes - self.new_attributes
        self.missing = sorted(set().union(*used) & missing - own)

    def __call__(self, source: Source) -> None:
        for cls in source.nodes(ast.ClassDef):
            if any(dotted(base).rpartition(".")[2] == "BaseTrainer" for base in cls.bases):
                self._call_of_init(source, cls)
            if is_trainer(cls):
                self._metric_lists(source, cls)
                own_checkpoints(source, cls)
        private_config(source)
        summary(source)

    def _call_of_init(self, source: Source, cls: Any) -> None:
        """super().__init__ with the arguments of today, and the attributes that it set before."""
        found = [
            call
            for call in source.nodes(ast.Call, inside=cls)
            if isinstance(call.func, ast.Attribute)
            and call.func.attr == "__init__"
            and isinstance(call.func.value, ast.Call)
            and dotted(call.func.value.func) == "super"
        ]
        if not found:
            return
        call = found[0]
        given = dict(zip(self.old_parameters, map(source.segment, call.args), strict=False))
        given |= {one.arg: source.segment(one.value) for one in call.keywords if one.arg}
        wanted = []
        for name, before in ARGUMENTS.items():
            key = next((one for one in before.split() if one in given), None)
            if key is None:
                source.note(call, f"BaseTrainer wants {name}, which this call does not give")
                return
            wanted.append(given[key])
        if list(given.values()) != wanted:
            start, end = source.end(call.func), source.end(call)
            dropped = ", ".join(value for value in given.values() if value not in wanted)
            reason = f"BaseTrainer takes no {dropped}: the config knows what to resume"
            source.edit(start, end, f"({', '.join(wanted)})", reason)
            for one in given.keys() - NO_MORE - set(" ".join(ARGUMENTS.values()).split()):
                source.note(call, f"the old BaseTrainer took {one}; see what it did with it")
        self._attributes(source, call, given)

    def _attributes(self, source: Source, call: Any, given: dict[str, str]) -> None:
        lines = []
        for name in self.missing:
            value = self._value_of(name, given)
            if value is None:
                source.note(call, f"the old base set self.{name}, which is used; it does not now")
            else:
                lines.append(f"self.{name} = {value}")
        if lines:
            reason = "the base has these under other names now, or not at all"
            source.insert_after(source.parents[call], lines, reason)

    def _value_of(self, name: str, given: dict[str, str]) -> str | None:
        """What to set self.name to: the argument that the old base set it to, or what is known."""
        for node in ast.walk(self.old_init):
            if isinstance(node, ast.Assign) and dotted(node.targets[0]) == f"self.{name}":
                if dotted(node.value) in self.old_parameters:
                    return given.get(dotted(node.value), "None")
        return ATTRIBUTES.get(name)

    def _metric_lists(self, source: Source, cls: Any) -> None:
        if not self.lists:
            return
        reason = "an epoch gives its values by name; a list of them was named by the old base"
        for node in source.nodes(ast.Dict, inside=cls):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in ("metrics", "val_metrics"):
                    text = "**" + self._named(key.value, source.segment(value))
                    source.edit(source.start(key), source.end(value), text, reason)
        for node in source.nodes(ast.Assign, inside=cls):
            target = node.targets[0]
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                if target.slice.value in ("metrics", "val_metrics"):
                    named = self._named(target.slice.value, source.segment(node.value))
                    text = f"{source.segment(target.value)}.update({named})"
                    source.replace(node, text, reason)

    @staticmethod
    def _named(key: str, values: str) -> str:
        return NAMED.format(prefix="'val_' + " if key == "val_metrics" else "", values=values)


def on_self(node: Any) -> bool:
    return isinstance(node.ctx, ast.Load) and dotted(node.value) == "self"


def own_checkpoints(source: Source, cls: Any) -> None:
    """Checkpoints that the user's trainer writes and reads by itself."""
    functions = methods(cls)
    if save := functions.get("_save_checkpoint"):
        source.note(
            save,
            "writes checkpoints by itself: they are not written in one step, and a "
            "resumed run goes on with what this puts into them; super() saves all",
        )
        for node in source.nodes(ast.Dict, inside=save):
            for key, value in zip(node.keys, node.values, strict=True):
                name = getattr(key, "value", None)
                if name == "config" and dotted(value) == "self.config":
                    reason = "a checkpoint holds plain types: the dict, not the ConfigParser"
                    source.replace(value, "self.config.config", reason)
                if name == "logger" and dotted(value) == "self.train_logger":
                    reason = "a checkpoint holds plain types; metrics.csv keeps the history"
                    source.remove_item(source.start(key), source.end(value), reason)
    if resume := functions.get("_resume_checkpoint"):
        for node in source.nodes(ast.Assign, inside=resume):
            is_logger = isinstance(node.value, ast.Subscript) and "'logger'" in ast.unparse(node)
            if is_logger and dotted(node.targets[0]) == "self.train_logger":
                source.remove_lines(node, "a checkpoint holds plain types, so no logger")


def private_config(source: Source) -> None:
    for node in source.nodes(ast.Attribute):
        if node.attr == "_config" and dotted(node.value) in ("config", "self.config"):
            text = f"{dotted(node.value)}.config"
            source.replace(node, text, "ConfigParser's own dict is its attribute config")


def summary(source: Source) -> None:
    for node in source.nodes(ast.Expr):
        call = node.value
        if isinstance(call, ast.Call) and dotted(call.func).endswith("model.summary"):
            if not call.args and not call.keywords:
                text = f"print({source.segment(node.value.func.value)})"
                source.replace(node, text, "a model says by itself how many parameters it has")


def imports_of_base(source: Source, exported: NamesIn, added: NamesIn, modules: NamesIn) -> None:
    """Imports from the parts that are new.

    `exported` are the names that each package has, `added` those in its from_old.py, `modules` the
    names in each of its modules.
    """
    util = "from utils import from_old" if added.get("utils") else "import utils"
    for node in source.nodes(ast.Import):
        for one in node.names:
            if one.name.split(".")[0] in PACKAGES and one.name not in {*modules, *PACKAGES}:
                if one.name == "utils.util" and one.asname and len(node.names) == 1:
                    source.replace(node, f"{util} as {one.asname}", NO_UTIL)
                else:
                    source.note(node, f"there is no {one.name} any more")
    for node in source.nodes(ast.ImportFrom):
        module = absolute(source, node)
        package, _, rest = module.partition(".")
        if package not in PACKAGES:
            continue
        if module == "utils" and [one.name for one in node.names] == ["util"]:
            source.replace(node, f"{util} as {node.names[0].asname or 'util'}", NO_UTIL)
            continue
        here = modules.get(module) if rest else exported[package] | submodules(modules, package)
        if here is None or any(one.name not in here and one.name != "*" for one in node.names):
            places = places_of_names(package, exported, added, modules)
            _split_import(source, node, module, places)


NO_UTIL = "there is no utils.util any more"


def absolute(source: Source, node: Any) -> str:
    """The module that an import is from, seen from the top of the project."""
    if node.level == 0:
        return node.module
    above = source.name.split("/")[: -node.level]
    return ".".join([*above, *filter(None, [node.module])])


def places_of_names(
    package: str, exported: NamesIn, added: NamesIn, modules: NamesIn
) -> dict[str, str]:
    """The module to import each name of a package from."""
    places = {
        name: path
        for path, names in modules.items()
        if path.startswith(f"{package}.") and not path.endswith("__init__")
        for name in names
    }
    places |= dict.fromkeys(added[package], f"{package}.from_old")
    return places | dict.fromkeys(exported[package], package)


def submodules(modules: NamesIn, package: str) -> set[str]:
    return {path.split(".")[1] for path in modules if path.startswith(f"{package}.")}


def _split_import(source: Source, node: Any, module: str, places: dict[str, str]) -> None:
    """Each name from where it is now."""
    if gone := [one.name for one in node.names if one.name not in places]:
        source.note(node, f"{module} has no {', '.join(gone)} any more")
        return
    lines: dict[str, list[str]] = {}
    for one in node.names:
        lines.setdefault(places[one.name], []).append(ast.unparse(one))
    indent = "\n" + " " * node.col_offset
    text = indent.join(f"from {place} import {', '.join(names)}" for place, names in lines.items())
    moved = ", ".join(place for place in lines if place != module)
    source.replace(node, text, f"some names of {module} are in {moved} now")
