"""What an old project has changed in a class of the base, as a subclass of the new class.

Where that cannot be, the class stays as it is, or a line says what has been left out.
"""

import ast
import builtins
import re
import textwrap
from collections.abc import Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from migrating.known import Difference, compare, lines_of, versions
from migrating.source import dotted, loaded, methods, own_attributes, stored
from migrating.tree import OldClass

NEW_PROJECT = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_name}}"
# The names of today, and where each is
NEW_PLACES = {
    "BaseDataLoader": ("base.base_data_loader", "BaseDataLoader"),
    "BaseModel": ("base.base_model", "BaseModel"),
    "BaseTrainer": ("base.base_trainer", "BaseTrainer"),
    "ConfigParser": ("parse_config", "ConfigParser"),
    "MetricTracker": ("utils.meter", "MetricTracker"),
    "TensorboardWriter": ("logger.visualization", "TensorboardWriter"),
    "WriterTensorboardX": ("logger.visualization", "TensorboardWriter"),
    "WriterTensorboard": ("logger.visualization", "TensorboardWriter"),
}
# What today's BaseTrainer takes, and the names that old ones have for it
ARGUMENTS = {
    "model": "model models net",
    "criterion": "criterion loss criterions losses loss_fn loss_func",
    "metric_ftns": "metric_ftns metrics metric_fns metric_ftn metric",
    "optimizer": "optimizer optimizers optim",
    "config": "config cfg",
}
# Attributes that the old BaseTrainer set, and what stands for them
ATTRIBUTES = {
    "verbosity": "config['trainer']['verbosity']",
    "with_cuda": "self.device.type == 'cuda'",
    "gpu": "self.device",
    "device_ids": "[]",
}
# What the new classes decide by themselves; an old statement that sets it is not carried over
DECIDED = {
    "BaseTrainer": set("device checkpoint_dir start_epoch logger config writer".split()),
    "ConfigParser": set("config save_dir log_dir resume".split()),
}
# Of a writer
DECIDED |= dict.fromkeys(
    ("TensorboardWriter", "WriterTensorboardX", "WriterTensorboard"),
    set("writer step mode timer selected_module tb_writer_ftns tag_mode_exceptions".split()),
)
WRITES_CONFIG = re.compile(r"write_(json|yaml)\(|\b(json|yaml)\.(safe_)?dump\((self\.)?_?config\b")
DOC = '    """The old project\'s, where it differs from that of today."""\n'
MESSAGES = ("logger.info", "logger.warning", "logger.debug", "logging.info", "logging.warning")


@dataclass
class Carried:
    """What becomes of a class."""

    text: str = ""  # the class to put in the place of the old; "" where the new one does all
    is_as_it_was: bool = False
    kept: list[str] = field(default_factory=list)  # lines for the report
    left: list[str] = field(default_factory=list)  # what a person must see to
    imports: list[str] = field(default_factory=list)  # lines that the text needs beside


def carry(name: str, old: OldClass, text: str, used: Set[str] = frozenset()) -> Carried:
    """What becomes of the class `name` of the old base; `text` is that of its file.

    `used` are attributes of self that the user's files read.
    """
    return _Class(name, old, text, used).carry()


class _Class:
    def __init__(self, name: str, old: OldClass, text: str, used: Set[str]) -> None:
        self.name, self.file, self.node = name, old.file, old.node
        self.lines = text.splitlines(keepends=True)
        self.tree = ast.parse(text)
        self.functions: dict[str, Any] = methods(self.node)
        self.differs: dict[str, Difference | None] = {}  # None: the original has no such method
        for method, function in self.functions.items():
            key = f"{name}.{method}"
            if key not in versions():
                self.differs[method] = None
            elif difference := compare(key, function):
                self.differs[method] = difference
        self.used = set(used).union(
            *(read_on_self(self.functions[one]) for one in self.differs if one != "__init__")
        )
        init = self.functions.get("__init__")
        if name == "BaseTrainer" and init is not None and not self._takes("optimizer"):
            self.differs.setdefault("__init__", Difference([], 0, True))  # which makes one
        elif name == "ConfigParser" and init is not None and self._sets_what_is_used(init):
            self.differs.setdefault("__init__", Difference([], 0, False))
        self.result = Carried()

    def carry(self) -> Carried:
        attributes = [
            one
            for one in self.node.body
            if isinstance(one, (ast.Assign, ast.AnnAssign)) and getattr(one, "value", None)
        ]
        if self.differs and self._is_kept_as_it_is():
            self.result.is_as_it_was = True
            self.result.text = self._source(self.node)
            for method in self.differs:
                self._keep(method, "as it is, with its whole class")
            return self.result
        parts = [self._source(one) for one in attributes]
        for method in self.differs:
            parts += self._method(method)
        if parts:
            new = "New" + NEW_PLACES[self.name][1]
            head = f"class {self.name}({new}):\n{DOC}\n"
            self.result.text = head + "\n\n".join(one.rstrip() for one in parts) + "\n"
        return self.result

    # What is done with each method

    def _method(self, method: str) -> list[str]:
        difference = self.differs[method]
        function = self.functions[method]
        if difference is None:
            if method in new_names(self.name) and method not in vars(object):
                line = f"{self.file}:{function.lineno}: {self.name}.{method}: not carried over: "
                self.result.left.append(line + "today's base has another of this name")
                return []
            self._keep(method, "as it is")
            return [self._source(function)]
        if self._is_only_messages(method):
            self._keep(method, f"{difference.words()}: other messages alone, today's are used")
            return []
        if method == "__init__" and self.name in ("BaseTrainer", "ConfigParser", *WRITERS):
            return self._init(function, difference)
        if method == "train":
            return self._train(function, difference)
        if method == "from_args":
            return self._from_args(function, difference)
        if self.name == "ConfigParser" and method in ("config", "save_dir", "log_dir"):
            self._leave(method, difference, "today's is used")
            return []
        if self.name in WRITERS and method in ("__getattr__", "set_step"):
            self._leave(method, difference, "today's is used, which has more methods")
            return []
        takes_more = method in HOOKS and len(_required(function)) > 1
        if takes_more or (method in TODAY_IS_ENOUGH and not difference.added):
            self._leave(method, difference, "today's is used")
            return []
        self._keep(method, "as it is")
        return [self._source(function)]

    def _init(self, function: Any, difference: Difference) -> list[str]:
        """An __init__ with the old arguments: today's, then what was added to it."""
        taken = [one.arg for one in [*function.args.args, *function.args.kwonlyargs]][1:]
        given = self._arguments_of_new(taken)
        if given is None:
            self._leave("__init__", difference, "it takes other arguments: see what uses them")
            return []
        body = [one for one in function.body if not _is_doc(one)]
        wanted = self._wanted(body, difference)
        written = [one for one in body if WRITES_CONFIG.search(ast.unparse(one))]
        written = [one for one in written if one in difference.added]
        if written and self.name == "BaseTrainer":
            self._keep(
                "__init__", f"its lines {lines_of(written)} are left out: a run has its config"
            )
        resumes = [one for one in body if "self._resume_checkpoint(" in ast.unparse(one)]
        self._leave_lines("__init__", difference.added, wanted + written + resumes)
        more = self._further_adders(difference.added) if self.name in WRITERS else []
        if not wanted and not difference.other_signature:
            if more or not any(":" in one for one in self.result.left):
                self._keep("__init__", f"{difference.words()}: today's does what is left")
            return more
        arguments, call = ast.unparse(function.args), f"super().__init__({', '.join(given)}"
        if self.name == "ConfigParser":
            if function.args.kwarg is None:
                arguments += ", **more"
            call += f", **{function.args.kwarg.arg if function.args.kwarg else 'more'}"
        head = f"    def __init__({arguments}):\n        {call})\n"
        if self.name == "ConfigParser" and any("run_id" in loaded(one) for one in wanted):
            head += "        run_id = self.run_id = run_id or time.strftime('%m%d_%H%M%S')\n"
            self.result.imports.append("import time")
        wanted = [one for one in body if one in wanted and not _makes_run_id(one)]
        lines = [self._source(one, 8) for one in wanted]
        if self.name == "BaseTrainer":
            known = (self.used & own_attributes(self.node)) - new_names(self.name)
            others = sorted(known & ATTRIBUTES.keys())
            lines = [f"        self.{one} = {ATTRIBUTES[one]}\n" for one in others] + lines
        taken_over = f"its lines {lines_of(wanted)}, after" if wanted else "its arguments, for"
        self._keep("__init__", f"{taken_over} today's")
        return [head + "".join(lines), *more]

    def _sets_what_is_used(self, node: Any) -> bool:
        """Whether code of the user's, or carried over, reads what today's class does not set."""
        attributes = set_on_self(node)
        decided = {one for one in attributes if one.lstrip("_") in DECIDED.get(self.name, ())}
        return bool(attributes & self.used - decided - new_names(self.name) - ATTRIBUTES.keys())

    def _takes(self, name: str) -> bool:
        """Whether the old __init__ takes what today's calls `name`."""
        arguments = self.functions["__init__"].args
        taken = {one.arg for one in [*arguments.args, *arguments.kwonlyargs]}
        return bool(taken & set(ARGUMENTS[name].split()))

    def _further_adders(self, added: list[Any]) -> list[str]:
        """Methods for what the old writer could add to TensorBoard and today's cannot."""
        texts = []
        for node in added:
            if isinstance(node, ast.Assign) and dotted(node.targets[0]) == "self.tb_writer_ftns":
                for one in getattr(node.value, "elts", []):
                    if one.value not in new_names(self.name):
                        texts.append(ADDER.format(name=one.value))
        return texts

    def _arguments_of_new(self, taken: list[str]) -> list[str] | None:
        """What the new __init__ is given, from the parameters of the old."""
        if self.name == "ConfigParser":
            known = ["config", "resume", "modification", "run_id"]
            return None if "config" not in taken else [f"{k}={k}" for k in known if k in taken]
        if self.name in WRITERS:
            return taken[:3] if len(taken) >= 3 else None
        given = []
        for name, words in ARGUMENTS.items():
            found = next((one for one in words.split() if one in taken), None)
            if found is None and name in ("model", "config"):
                return None
            given.append(found or ("[]" if name == "metric_ftns" else "None"))
        return given

    def _wanted(self, body: list[Any], difference: Difference) -> list[Any]:
        """The statements of an old __init__ to keep: those added, and what they are made from."""
        added = set(difference.added)
        decided = DECIDED.get(self.name, set())
        wanted = []
        for node in body:
            inner = {one for one in ast.walk(node) if isinstance(one, ast.stmt)}
            if not inner <= added or _is_message(node) or _calls_super(node):
                continue
            if WRITES_CONFIG.search(ast.unparse(node)):  # today's does, once there is a run
                continue
            attributes = set_on_self(node)
            if {one.lstrip("_") for one in attributes} & decided:
                continue
            is_of_locals = isinstance(node, (ast.Assign, ast.AnnAssign)) and not attributes
            if any(isinstance(one, ast.Subscript) for one in getattr(node, "targets", ())):
                is_of_locals = False  # as config["x"]
            if not is_of_locals and "_resume_checkpoint" not in ast.unparse(node):
                wanted.append(node)
        for node in body:  # what the old base set, and today's does not
            attributes = set_on_self(node)
            is_needed = self._sets_what_is_used(node)
            if self.name == "BaseTrainer" and isinstance(getattr(node, "value", None), ast.Name):
                is_needed = bool(attributes)
            if is_needed and not attributes & new_names(self.name):
                wanted.append(node)
            makes_optimizer = self.name == "BaseTrainer" and not self._takes("optimizer")
            if "optimizer" in attributes and makes_optimizer:
                wanted.append(node)
        for node in reversed(body):  # the locals that these read
            needed = {name for one in wanted for name in loaded(one)}
            is_local = isinstance(node, ast.Assign) and stored(node) & needed
            if is_local and node not in wanted and not _calls_super(node):
                wanted.append(node)
        return [one for one in body if one in wanted]

    def _train(self, function: Any, difference: Difference) -> list[str]:
        """train() of today, with the statements that were added around and in its loop."""
        loop = next((one for one in function.body if _has_epoch(one)), None)
        inner: list[Any] = loop.body if isinstance(loop, ast.For) else []
        place = next((i for i, one in enumerate(inner) if _has_epoch(one)), 0)
        call: Any = inner[place] if inner else None
        is_known = isinstance(call, ast.Assign) and isinstance(call.targets[0], ast.Name)
        if loop is None or not is_known or not isinstance(loop.target, ast.Name):
            self._leave("train", difference, "its loop is not understood")
            return []
        at = function.body.index(loop)
        names = {"self", loop.target.id, "result", "log", dotted(call.targets[0])}
        self.module = {one for one in vars(builtins)} | _names_of_module(self.tree)
        left: list[Any] = list(difference.added)
        left = [one for one in left if one is not call]
        before = self._take(function.body[:at], left, {"self"}, False)
        outer = _bound_by(before)
        first = self._take(loop.body[:place], left, names - {"result", "log"} | outer, False)
        then = self._take(loop.body[place + 1 :], left, names | outer | _bound_by(first), False)
        after = self._take(function.body[at + 1 :], left, {"self"} | outer, True)
        at_best = self._take(
            _branch_of_the_best(loop), left, {"self", "log", loop.target.id}, False
        )
        is_best = self._is_best(at_best, loop.target.id)
        self._leave_lines("train", [one for one in left if not _is_today_s(one)], [])
        if not before + first + then + after:
            if not self.result.left:
                if not is_best:
                    self._keep("train", f"{difference.words()}: what today's does by itself")
            return is_best
        taken = before + first + then + after
        self._keep("train", f"its lines {lines_of(taken)}, around today's")
        text = "    def train(self):\n" + "".join(self._source(one, 8) for one in before)
        if first + then:
            text += self._around_epoch(loop, place, first, then, outer)
        is_returned = any(isinstance(one, ast.Return) for one in after)
        text += UNDONE if first + then else "        log = super().train()\n"
        text += "".join(self._source(one, 8) for one in after)
        return [text + "        return log\n" * (not is_returned), *is_best]

    def _is_best(self, nodes: list[Any], epoch: str) -> list[str]:
        """A method with what train() did where an epoch was the best."""
        if not nodes or "_is_best" in self.functions:
            return []
        self._keep("train", f"its lines {lines_of(nodes)}, where an epoch is the best")
        head = "    def _is_best(self, log):\n        is_best = super()._is_best(log)\n"
        head += "        if is_best:\n"
        if any(epoch in loaded(one) for one in nodes):
            head += f"            {epoch} = self.epoch\n"
        body = "".join(self._source(one, 12) for one in nodes)
        return [f"{head}{body}        return is_best\n"]

    def _around_epoch(
        self, loop: Any, place: int, first: list[Any], then: list[Any], outer: set[str]
    ) -> str:
        """An epoch with more around it; `log` is made where the old loop filled it."""
        epoch, result = loop.target.id, loop.body[place].targets[0].id
        filled = next((one for one in loop.body[place + 1 :] if _fills_log(one, result)), None)
        at = filled.lineno if filled is not None else 0
        early, late = (
            [x for x in then if (x.lineno < at) == is_early] for is_early in (True, False)
        )
        has_log = "log" in _bound_by(first + early)
        shared = sorted(_bound_by(first + then) & outer)
        inner = f"            nonlocal {', '.join(shared)}\n" * bool(shared)
        inner += "".join(self._source(one, 12) for one in first)
        inner += f"            {result} = train_epoch({epoch})\n"
        inner += "".join(self._source(one, 12) for one in early)
        if late or has_log:
            more = "**log, " * has_log
            inner += f'            log = {{"epoch": {epoch}, {more}**{result}}}\n'
        inner += "".join(self._source(one, 12) for one in late)
        inner += f"            return {'log' if late or has_log else result}\n"
        head = "        train_epoch = self._train_epoch\n\n"
        head += f"        def train_epoch_and_more({epoch}):\n"
        inner += "\n        self._train_epoch = train_epoch_and_more\n"
        return head + inner

    def _take(self, body: list[Any], left: list[Any], names: set[str], returns: bool) -> list[Any]:
        """The statements of `body` that were added and read known names; taken out of `left`."""
        taken: list[Any] = []
        known = names | self.module
        for node in body:
            inner = [one for one in ast.walk(node) if isinstance(one, ast.stmt)]
            kinds = (ast.Break, ast.Continue, *(() if returns else (ast.Return,)))
            if not set(inner) <= set(left) or _is_message(node) or _is_today_s(node):
                continue
            if any(isinstance(one, kinds) for one in inner):
                continue
            own = stored(node)
            if (loaded(node) - own) | _counted(node) <= known:
                known |= own
                taken.append(node)
                left[:] = [one for one in left if one not in inner]
        return taken

    def _from_args(self, function: Any, difference: Difference) -> list[str]:
        """Today's reading of the command line, with the old arguments; further ones are let be."""
        names = [one.arg for one in [*function.args.args, *function.args.kwonlyargs]][1:]
        given = [one for one in difference.added if _parsed(one) in names]  # argv as an argument
        self._leave_lines("from_args", difference.added, given)
        argv = _parsed(given[0]) if given else ""
        more = [one for one in names[1:] if one not in ("options", argv)]
        if len(names) < 2 or (names[1] == "options" and len(names) == 2):
            return []
        if more := more[0 if argv or "options" in names else 1 :]:
            self.result.left.append(
                f"{self.file}:{function.lineno}: {self.name}.from_args: takes {', '.join(more)} "
                "and does nothing with that"
            )
        options = "options" if "options" in names else "()" if argv else names[1]
        call = ", ".join([names[0], f"{options} or ()", *[argv] * bool(argv)])
        self._keep("from_args", "its arguments, for today's")
        return [
            f"    @classmethod\n    def from_args({ast.unparse(function.args)}, **more):\n"
            f"        return super().from_args({call}, **more)\n"
        ]

    # What it is told by

    def _is_only_messages(self, method: str) -> bool:
        difference = self.differs[method]
        if difference is None or difference.other_signature or not difference.added:
            return False
        return all(map(_is_message, difference.added))

    def _is_kept_as_it_is(self) -> bool:
        """Trackers, and loaders that make their own DataLoader, know nothing of a trainer."""
        if self.name == "MetricTracker":
            return True
        if self.name != "BaseDataLoader":
            return False
        init = self.differs.get("__init__", False)
        return init is not False and not self._is_plain_loader_init()

    def _is_plain_loader_init(self) -> bool:
        difference = self.differs["__init__"]
        return difference is not None and not difference.added and not difference.other_signature

    def _leave_lines(self, method: str, nodes: list[Any], taken: list[Any]) -> None:
        """Say which statements are not carried over: each, or where they are many, their lines."""
        done = {id(one) for node in taken for one in ast.walk(node)}
        left = []
        messages = [one for one in nodes if id(one) not in done and isinstance(one, ast.Expr)]
        if messages := [one for one in messages if _is_message(one)]:
            self._keep(method, f"its messages (lines {lines_of(messages)}) are left out")
        for node in sorted(set(nodes), key=lambda one: (one.lineno, -one.end_lineno)):
            if "tb_writer_ftns" in ast.unparse(node) and self.name in WRITERS:
                continue
            if id(node) not in done and not _is_message(node):
                left.append(node)
                done |= {id(one) for one in ast.walk(node)}
        codes = [ast.unparse(one).splitlines()[0] for one in left]
        codes = [one if len(one) < 70 else one[:67] + "..." for one in codes]
        place = f"{self.name}.{method}: not carried over"
        if len(left) > MANY:
            line = f"{self.file}:{left[0].lineno}: {place}: lines {lines_of(left)}"
            self.result.left.append(line)
            return
        for node, code in zip(left, codes, strict=True):
            self.result.left.append(f"{self.file}:{node.lineno}: {place}: {code}")

    def _source(self, node: Any, indent: int | None = None) -> str:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        text = "".join(self.lines[first - 1 : node.end_lineno]).rstrip() + "\n"
        if indent is None:
            return text
        return textwrap.indent(textwrap.dedent(text), " " * indent)

    def _keep(self, method: str, words: str) -> None:
        if words:
            line = self.functions[method].lineno
            self.result.kept.append(f"{self.file}:{line}: {self.name}.{method}: {words}")

    def _leave(self, method: str, difference: Difference, words: str) -> None:
        line = self.functions[method].lineno
        what = f"{self.name}.{method} {difference.words()}: {words}"
        self.result.left.append(f"{self.file}:{line}: {what}")


def _bound_by(nodes: list[Any]) -> set[str]:
    return set().union(*map(stored, nodes))


def _counted(node: Any) -> set[str]:
    """The names that are read and set anew, as by `n += 1`."""
    targets = [one.target for one in ast.walk(node) if isinstance(one, ast.AugAssign)]
    return {one.id for one in targets if isinstance(one, ast.Name)}


def _fills_log(node: Any, result: str) -> bool:
    """Whether a statement of the old loop puts what an epoch gave into `log`."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return "log" in names and result in loaded(node)


def _branch_of_the_best(loop: ast.For) -> list[Any]:
    """The statements of `if improved:`, but for those that read what today's sets only later."""
    found = (one for one in ast.walk(loop) if isinstance(one, ast.If))
    branch = next((one.body for one in found if dotted(one.test) == "improved"), [])
    return [one for one in branch if "mnt_best" not in ast.unparse(one)]


WRITERS = ("TensorboardWriter", "WriterTensorboardX", "WriterTensorboard")


HOOKS = ("_save_checkpoint", "_resume_checkpoint", "_train_epoch")  # which today's train() calls
# Where today's does all that an old one without some of its lines did
TODAY_IS_ENOUGH = (*HOOKS[:2], "__init__", "init_obj", "init_ftn", "initialize", "get_logger")
MANY = 4
ADDER = """    def {name}(self, tag, data, *args, **kwargs):
        if self.writer is not None:
            self.writer.{name}(tag, data, self.step, *args, **kwargs)
"""


UNDONE = """        try:
            log = super().train()
        finally:  # else a second call of train() would do the more twice
            self._train_epoch = train_epoch
"""


def _parsed(node: Any) -> str:
    """The name that a statement hands to parse_args, or ""."""
    call = getattr(node, "value", None)
    if isinstance(call, ast.Call) and len(call.args) == 1:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "parse_args":
            return dotted(call.args[0])
    return ""


def _required(function: Any) -> list[str]:
    n = len(function.args.args) - len(function.args.defaults)
    return [one.arg for one in function.args.args[1:n]]


def _makes_run_id(node: Any) -> bool:
    return stored(node) == {"run_id"} and not set_on_self(node)


def _is_doc(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_on_self(node: Any, kind: type) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, kind)
        and dotted(node.value) == "self"
    )


def read_on_self(node: Any) -> set[str]:
    return {one.attr for one in _attributes(node) if _is_on_self(one, ast.Load)}


def set_on_self(node: Any) -> set[str]:
    return {one.attr for one in _attributes(node) if _is_on_self(one, ast.Store)}


def _attributes(node: Any) -> list[ast.Attribute]:
    return [one for one in ast.walk(node) if isinstance(one, ast.Attribute)]


def _calls_super(node: Any) -> bool:
    return "super(" in ast.unparse(node)


def _is_message(node: Any) -> bool:
    """Whether a statement only says something, or makes sure of something."""
    if isinstance(node, (ast.Pass, ast.Continue, ast.Assert)):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        name = dotted(node.value.func)
        return name == "print" or name.endswith(MESSAGES)
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Name) and _is_text(node.value)
    if isinstance(node, (ast.For, ast.If)):
        return all(map(_is_message, [*node.body, *node.orelse]))
    return False


def _is_text(node: Any) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and _is_text(node.func.value)
    if isinstance(node, ast.BinOp):
        return _is_text(node.left)
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _has_epoch(node: Any) -> bool:
    return any(dotted(one) == "self._train_epoch" for one in ast.walk(node))


def _only_saves(node: Any) -> bool:
    """Whether a statement does nothing but save a checkpoint, under whatever condition."""
    if isinstance(node, ast.If):
        return all(map(_only_saves, [*node.body, *node.orelse]))
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return is_call and dotted(node.value.func) == "self._save_checkpoint"


def _is_today_s(node: Any) -> bool:
    """Whether today's train() does it by itself: save, and count for early_stop."""
    is_strict = isinstance(node, ast.Assign) and dotted(node.targets[0]) == "improved"
    compared = {type(one) for part in ast.walk(node) for one in getattr(part, "ops", ())}
    if is_strict and compared <= {ast.Eq, ast.Lt, ast.Gt}:
        return "self.mnt_best" in ast.unparse(node)  # an equal value is no better, as today
    return _only_saves(node) or (
        isinstance(node, (ast.Assign, ast.AugAssign, ast.If))
        and "not_improved_count" in ast.unparse(node).splitlines()[0]
    )


def _names_of_module(tree: ast.Module) -> set[str]:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [{one.name} if isinstance(one, kinds) else stored(one) for one in tree.body]
    return set().union(*found)


@cache
def new_names(name: str) -> set[str]:
    """What a class of today has: methods, and attributes that they set; of its bases too."""
    place, wanted = NEW_PLACES[name]
    text = (NEW_PROJECT / f"{place.replace('.', '/')}.py").read_text(encoding="utf-8")
    classes = {one.name: one for one in ast.parse(text).body if isinstance(one, ast.ClassDef)}
    names: set[str] = set()
    todo = [wanted]
    while todo:
        node = classes.get(todo.pop())
        if node is not None:
            names |= own_attributes(node) | set().union(*(stored(one) for one in node.body))
            todo += [dotted(one) for one in node.bases]
    return names
