"""What code asks of the classes of the old base that today's have not, and the other way round.

It is looked up in the text, so that code which no dry run reaches is seen too.
"""

import ast
from typing import Any

from migrating.carry import NEW_PLACES, WRITERS, Carried, new_names, read_on_self, set_on_self
from migrating.names import PRIVATE
from migrating.source import Source, base_names, built_on, dotted, methods, own_attributes, stored
from migrating.tree import OldProject

# The names that objects of these classes go by, everywhere
CALLED = {
    "ConfigParser": {"config"},
    "MetricTracker": {"train_metrics", "valid_metrics"},
    "BaseTrainer": {"trainer"},
    "BaseDataLoader": {"data_loader", "valid_data_loader"},
    **dict.fromkeys(WRITERS, {"writer"}),
}
# Of BaseTrainer, what a trainer may set as it likes
FREE = set("lr_scheduler epoch device model criterion metric_ftns optimizer config".split())


class Uses:
    """The rules, for a project whose classes of the base are known."""

    def __init__(self, old: OldProject, classes: dict[str, Carried], sources: list[Source]) -> None:
        self.lost: dict[str, set[str]] = {}
        self.called = {name: set(called) for name, called in CALLED.items()}
        for name, one in old.classes.items():
            if not classes[name].is_as_it_was:
                carried = ast.parse(classes[name].text).body
                has = set().union(*(members(node) for node in carried)) | new_names(name)
                self.lost[name] = {
                    one for one in members(old.classes[name].node) - has if "__" not in one
                } - {"_data"}
        self.lost.get("BaseTrainer", set()).difference_update(
            own_attributes(old.classes["BaseTrainer"].node)  # of which Names speaks
        )
        old_trainer = members(old.classes["BaseTrainer"].node)
        self.taken = new_names("BaseTrainer") - old_trainer - FREE
        every = [one for source in sources for one in source.nodes(ast.ClassDef)]
        self.trainers = {one.name for one in built_on("BaseTrainer", every)}
        for source in sources:
            self._find_names(source)

    def _find_names(self, source: Source) -> None:
        """What variables and attributes are called that hold an object of these classes."""
        for node in source.nodes(ast.Assign):
            if isinstance(node.value, ast.Call):
                name = dotted(node.value.func).rpartition(".")[2]
                if name in self.called and name in NEW_PLACES:
                    for target in node.targets:
                        self.called[name].add(dotted(target).rpartition(".")[2])

    def __call__(self, source: Source) -> None:
        for node in source.nodes(ast.Attribute):
            if node.attr in PRIVATE and dotted(node.value) in ("config", "self.config"):
                continue  # it is edited
            for name, lost in self.lost.items():
                if node.attr in lost and self._is_of(source, node, name):
                    text = f"the old {name} had {node.attr}, today's has not"
                    source.note(node, text)
        for cls in source.nodes(ast.ClassDef):
            if self._is_trainer(cls):
                self._train_epoch(source, cls)
                self._taken_names(source, cls)
                self._kept_between_epochs(source, cls)

    def _is_of(self, source: Source, node: Any, name: str) -> bool:
        value = dotted(node.value)
        if value.rpartition(".")[2] in self.called.get(name, ()):
            return True
        cls = source.around(node, ast.ClassDef)
        bases = base_names(cls) if cls else set()
        own = members(cls) if cls else set()
        is_trainers = name == "BaseTrainer" and cls is not None and self._is_trainer(cls)
        return value == "self" and (name in bases or is_trainers) and node.attr not in own

    def _is_trainer(self, cls: Any) -> bool:
        return cls.name in self.trainers or "BaseTrainer" in base_names(cls)

    def _train_epoch(self, source: Source, cls: Any) -> None:
        function = methods(cls).get("_train_epoch")
        if function is None:
            return
        arguments = function.args
        n_given = len(arguments.args) - len(arguments.defaults)
        if n_given > 2 or len(arguments.args) + bool(arguments.vararg) < 2:
            source.note(function, "train() calls _train_epoch(epoch), with no other arguments")
        returned = [
            one
            for one in source.nodes(ast.Return, inside=function)
            if source.around(one, ast.FunctionDef) is function
        ]
        kinds = (ast.Tuple, ast.List, ast.Constant)
        bad = [one for one in returned if one.value is None or isinstance(one.value, kinds)]
        is_stub = any(isinstance(one, ast.Raise) for one in function.body)
        if not returned and not is_stub:
            source.note(function, "_train_epoch returns nothing: train() wants a dict of values")
        for one in bad:
            source.note(one, "_train_epoch returns no dict of values by name, as train() wants")

    def _kept_between_epochs(self, source: Source, cls: Any) -> None:
        """Name the attributes that one epoch leaves to the next: a resumed run has them not."""
        functions = methods(cls)
        saved = functions.get("_save_checkpoint")
        known = new_names("BaseTrainer") | (read_on_self(saved) if saved else set())
        kept: dict[str, Any] = {}
        made_anew: set[str] = set()
        for name, function in functions.items():
            if name in ("__init__", "_save_checkpoint", "_resume_checkpoint"):
                continue
            for node in source.nodes(ast.Assign, ast.AugAssign, inside=function):
                for one in set_on_self(node) - known:
                    if _depends_on_itself(source, node, one):
                        kept.setdefault(one, node)
                    else:
                        made_anew.add(one)
        for name in sorted(kept.keys() - made_anew):
            text = f"self.{name} is left by one epoch to the next, and no checkpoint has it: "
            source.note(kept[name], text + "a resumed run begins as __init__ leaves it")

    def _taken_names(self, source: Source, cls: Any) -> None:
        """Attributes of a trainer's own that today's base has for itself get another name."""
        taken = self.taken & (own_attributes(cls) | set(methods(cls)))
        for name in sorted(taken):
            if f"super().{name}(" in source.segment(cls):
                continue  # it is carried over on purpose
            reason = f"today's BaseTrainer has a {name} of its own"
            new = f"{name}_of_old" if not name.startswith("_") else f"_old{name}"
            for node in source.nodes(ast.Attribute, inside=cls):
                if node.attr == name and dotted(node.value) == "self":
                    end = source.end(node)
                    source.edit(end - len(name), end, new, reason)
            if function := methods(cls).get(name):
                start = source.text.index(f"def {name}", source.start(function)) + 4
                source.edit(start, start + len(name), new, reason)


def _depends_on_itself(source: Source, node: Any, name: str) -> bool:
    """Whether an attribute is set by what it was: `+=`, or where a condition asks for it."""
    if isinstance(node, ast.AugAssign) or name in read_on_self(node.value):
        return True
    condition = source.around(node, ast.If, ast.FunctionDef)
    if not isinstance(condition, ast.If):
        return False
    return name in read_on_self(condition.test) or f"(self, {name!r}" in ast.unparse(condition.test)


def members(cls: Any) -> set[str]:
    """The names that an object of a class has by its own code."""
    if not isinstance(cls, ast.ClassDef):
        return set()
    return own_attributes(cls) | set().union(*(stored(one) for one in cls.body if one.lineno)) & (
        set(methods(cls)) | _class_names(cls)
    )


def _class_names(cls: ast.ClassDef) -> set[str]:
    return set().union(
        *(stored(one) for one in cls.body if isinstance(one, (ast.Assign, ast.AnnAssign)))
    )
