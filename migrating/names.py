"""What the user's own code asks of the old base, and the new one has under another name or not.

Nothing here knows a version of the old base: its own source says what its trainer took and set.
"""

import ast
import re
from typing import Any

from migrating.carry import ARGUMENTS, ATTRIBUTES, new_names
from migrating.source import Source, base_names, dotted, is_trainer, methods, own_attributes

NO_MORE = {"resume", "train_logger"}
# Attributes of the base of 2018, and what they are called now
RENAMED = {"save_freq": "save_period", "monitor_mode": "mnt_mode", "monitor_best": "mnt_best"}
OWN_BASE = "today's does nothing for it, and --check cannot try it"
NAMED = "{{{prefix}m.__name__: value for m, value in zip(self.metric_ftns, {values})}}"


class Names:
    """The rules, for a project whose old base and new base are known."""

    has_plain_writer = False  # the old trainer's is torch's SummaryWriter itself

    def __init__(self, old: Any, new: Any, trainers: list[Any], has_old_init: bool = False) -> None:
        self.has_old_init = has_old_init  # BaseTrainer takes what the old one took
        self.old_init = methods(old)["__init__"]
        self.old_parameters = [one.arg for one in self.old_init.args.args[1:]]
        self.old_attributes = own_attributes(old)
        self.lists = "'metrics'" in ast.unparse(old)  # train() took lists of metrics
        self.new_attributes = own_attributes(new)
        self.trainers = trainers  # that are built on BaseTrainer
        self.names = {one.name for one in trainers}
        self.gone = self.old_attributes - self.new_attributes - RENAMED.keys()

    def missing(self, cls: Any) -> list[str]:
        """What a class and those built on it read from self, and only the old base has set."""
        found: set[str] = set()
        todo: list[tuple[Any, set[str]]] = [(cls, set())] if not self.has_old_init else []
        seen = []
        while todo:
            one, above = todo.pop()
            seen.append(one)
            own = above | own_attributes(one) | set(methods(one))
            used = {n.attr for n in ast.walk(one) if isinstance(n, ast.Attribute) and on_self(n)}
            found |= (used & self.gone) - own
            for other in self.trainers:
                if one.name in base_names(other) and other not in seen:
                    todo.append((other, own))
        return sorted(found)

    def __call__(self, source: Source) -> None:
        for cls in source.nodes(ast.ClassDef):
            is_direct = "BaseTrainer" in base_names(cls)
            if is_direct:
                self._call_of_init(source, cls)
            if is_direct or cls.name in self.names:
                self._renamed(source, cls)
                self._metric_lists(source, cls)
                if self.has_plain_writer:
                    plain_writer(source, cls)
            if is_trainer(cls):
                own_checkpoints(source, cls)
            is_ours = is_direct or cls.name in self.names or cls.name == "BaseTrainer"
            if not is_ours and {"train", "_train_epoch"} <= methods(cls).keys():
                source.note(cls, f"{cls.name} is not built on BaseTrainer: {OWN_BASE}")
        private_config(source)
        plain_config(source)
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
            for name in self.missing(cls):
                source.note(cls, f"the old base set self.{name}, which is used; it does not now")
            return
        call = found[0]
        if self.has_old_init:
            return
        given = dict(zip(self.old_parameters, map(source.segment, call.args), strict=False))
        given |= {one.arg: source.segment(one.value) for one in call.keywords if one.arg}
        wanted = []
        for name, before in ARGUMENTS.items():
            key = next((one for one in before.split() if one in given), None)
            if key is None:
                source.note(call, f"BaseTrainer wants {name}, which this call does not give")
            else:
                wanted.append(given[key])
        if len(wanted) < len(ARGUMENTS):
            pass
        elif list(given.values()) != wanted:
            start, end = source.end(call.func), source.end(call)
            dropped = ", ".join(value for value in given.values() if value not in wanted)
            reason = f"BaseTrainer takes no {dropped}: the config knows what to resume"
            source.edit(start, end, f"({', '.join(wanted)})", reason)
            for one in given.keys() - NO_MORE - set(" ".join(ARGUMENTS.values()).split()):
                source.note(call, f"the old BaseTrainer took {one}; see what it did with it")
        self._attributes(source, cls, call, given)

    def _attributes(self, source: Source, cls: Any, call: Any, given: dict[str, str]) -> None:
        lines = []
        for name in self.missing(cls):
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

    def _renamed(self, source: Source, cls: Any) -> None:
        for node in source.nodes(ast.Attribute, inside=cls):
            new = RENAMED.get(node.attr) if node.attr in self.old_attributes else None
            if new and dotted(node.value) == "self":
                source.replace(node, f"self.{new}", f"the base calls it {new} now")

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
                    source.replace(value, "self.config.given", reason)
                if name == "logger" and dotted(value) == "self.train_logger":
                    reason = "a checkpoint holds plain types; metrics.csv keeps the history"
                    source.remove_item(source.start(key), source.end(value), reason)
    if resume := functions.get("_resume_checkpoint"):
        for node in source.nodes(ast.Assign, inside=resume):
            is_logger = isinstance(node.value, ast.Subscript) and "'logger'" in ast.unparse(node)
            if is_logger and dotted(node.targets[0]) == "self.train_logger":
                source.drop(node, "a checkpoint holds plain types, so no logger")
            is_config = isinstance(node.value, ast.Subscript) and "'config'" in ast.unparse(node)
            if is_config and dotted(node.targets[0]) == "self.config":
                reason = "a checkpoint holds a dict; self.config stays the ConfigParser"
                source.drop(node, reason)


PRIVATE = {"_config": "config", "_save_dir": "save_dir", "_log_dir": "log_dir"}


def private_config(source: Source) -> None:
    """What ConfigParser kept under other names."""
    for node in source.nodes(ast.Attribute):
        value, name = dotted(node.value), PRIVATE.get(node.attr)
        cls = source.around(node, ast.ClassDef)
        is_own = value == "self" and cls is not None and cls.name == "ConfigParser"
        if name and (value in ("config", "self.config") or is_own):
            reason = f"ConfigParser's {node.attr} is called {name}"
            source.replace(node, f"{value}.{name}", reason)


def plain_writer(source: Source, cls: Any) -> None:
    """`self.writer.add_scalar(tag, value, step)`: today's writer is told the step before."""
    reason = "the project's writer knows the step by set_step, and adds the mode to the tag"
    for node in source.nodes(ast.Expr, inside=cls):
        call = node.value
        name = dotted(call.func) if isinstance(call, ast.Call) else ""
        if not name.startswith("self.writer."):
            continue
        if name.rpartition(".")[2] not in new_names("TensorboardWriter"):
            how = "self.writer.writer has, which is None where nothing is written"
            source.note(node, f"today's writer has no {name.rpartition('.')[2]}: {how}")
            continue
        steps = [one for one in call.keywords if one.arg == "global_step"]
        is_third = len(call.args) == 3 and not name.endswith(("embedding", "pr_curve"))
        given: Any = steps[0] if steps else call.args[2] if is_third else None
        if given is None or node.lineno != call.func.lineno:
            continue
        function = source.around(node, ast.FunctionDef)
        mode = ", 'valid'" if re.search("val|test", getattr(function, "name", "")) else ""
        step = source.segment(given.value if steps else given)
        start = source.start(node)
        source.edit(start, start, f"self.writer.set_step({step}{mode}); ", reason)
        source.remove_item(source.start(given), source.end(given), reason)


def plain_config(source: Source) -> None:
    """Where code takes the config for a dict, as it was in 2018: to set values, to write it."""
    for node in source.nodes(ast.Subscript):
        value = dotted(node.value)
        if value not in ("config", "self.config") or not isinstance(node.ctx, ast.Store):
            continue
        cls = source.around(node, ast.ClassDef)
        if cls is not None and is_trainer(cls):
            reason = "a ConfigParser takes no values; those in its dict are no settings of the run"
            source.replace(node.value, f"{value}.config", reason)
        elif _is_argument(source, node, "config"):
            text = f"where {value} is a ConfigParser, it takes no values: {value}.config[...] does"
            source.note(node, text)
    for call in source.nodes(ast.Call):
        given = dotted(call.args[0]) if call.args else ""
        cls = source.around(call, ast.ClassDef)
        if given in ("config", "self.config") and cls is not None and is_trainer(cls):
            if dotted(call.func) in ("json.dump", "json.dumps", "yaml.dump", "yaml.safe_dump"):
                reason = "a ConfigParser is no dict: this is what it was made from"
                source.replace(call.args[0], f"{given}.given", reason)


def _is_argument(source: Source, node: Any, name: str) -> bool:
    function = source.around(node, ast.FunctionDef)
    return function is not None and name in [one.arg for one in function.args.args]


def summary(source: Source) -> None:
    for node in source.nodes(ast.Expr):
        call = node.value
        if isinstance(call, ast.Call) and dotted(call.func).endswith("model.summary"):
            if not call.args and not call.keywords:
                text = f"print({source.segment(node.value.func.value)})"
                source.replace(node, text, "a model says by itself how many parameters it has")
