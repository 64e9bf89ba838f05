"""What in the user's own code does not run any more on today's Python, NumPy and PyTorch."""

import ast
import re
from collections.abc import Callable
from typing import Any

from migrating.source import Source, defined, dotted, is_trainer, methods

NUMPY = {
    **{name: name for name in ("float", "int", "bool", "object", "str", "complex")},
    "long": "int",
    "Inf": "{np}.inf",
    "Infinity": "{np}.inf",
    "NaN": "{np}.nan",
    "float_": "{np}.float64",
    "unicode_": "{np}.str_",
}
LOAD_SOURCE = '''import importlib.util


def load_source(name, path):
    """As imp.load_source, which Python 3.12 has no more."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
'''


def hard_coded_cuda(source: Source) -> None:
    reason = ".cuda() fails where there is no GPU, and ignores the config's device"
    for call in source.nodes(ast.Call):
        name = dotted(call.func)
        if name.startswith("torch.cuda.") and name.endswith("Tensor"):
            source.note(call, f"{name} makes a tensor on the GPU only")
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "cuda":
            continue
        if name == "torch.cuda" or (call.args and dotted(call.args[0]).endswith("device")):
            continue
        device = _device(source, call)
        start = source.end(call.func.value)
        more = [f", {ast.unparse(one)}" for one in call.keywords if one.arg == "non_blocking"]
        source.edit(start, source.end(call), f".to({device}{''.join(more)})", reason)


def _device(source: Source, node: Any) -> str:
    """An expression for the device that there is at a place in the code."""
    function = source.around(node, ast.FunctionDef)
    cls = source.around(node, ast.ClassDef)
    if cls is not None and is_trainer(cls):
        return "self.device"
    names = {one.id for one in source.nodes(ast.Name, inside=function)} if function else set()
    arguments = [one.arg for one in function.args.args] if function else []
    if "device" in names | set(arguments):
        return "device"
    if cls is not None and function is not None and function.name == "forward":
        layers = [one for one in source.nodes(ast.Call, inside=cls) if _is_layer(one)]
        return "next(self.parameters()).device" if layers else f"{arguments[1]}.device"
    if "torch" not in defined(source.tree):
        return "'cpu'"
    return "'cuda' if torch.cuda.is_available() else 'cpu'"


def _is_layer(call: Any) -> bool:
    name = dotted(call.func)
    return name.startswith(("nn.", "torch.nn.")) and name.rpartition(".")[2][:1].isupper()


def removed_numpy_names(source: Source) -> None:
    aliases = {
        one.asname or one.name
        for node in source.nodes(ast.Import)
        for one in node.names
        if one.name == "numpy"
    }
    for node in source.nodes(ast.Attribute):
        alias = dotted(node.value)
        if alias in aliases and node.attr in NUMPY:
            new = NUMPY[node.attr].format(np=alias)
            reason = f"{alias}.{node.attr} is not in NumPy any more; it was the same as {new}"
            source.replace(node, new, reason)


def verbose_schedulers(source: Source) -> None:
    for call in source.nodes(ast.Call):
        if is_scheduler(dotted(call.func).rpartition(".")[2]):
            for keyword in call.keywords:
                if keyword.arg == "verbose":
                    reason = "schedulers have no verbose any more; the log shows the learning rate"
                    source.remove_item(source.start(keyword), source.end(keyword), reason)


def is_scheduler(name: str) -> bool:
    return name.endswith("LR") or name in ("ReduceLROnPlateau", "CosineAnnealingWarmRestarts")


def import_imp(source: Source) -> None:
    uses = {
        name: [node for node in source.nodes(ast.Attribute) if dotted(node) == f"imp.{name}"]
        for name in ("load_source", "reload")
    }
    for node in source.nodes(ast.Import):
        if "imp" not in [one.name for one in node.names]:
            continue
        others = [one for one in node.names if one.name != "imp"]
        lines = [f"import {ast.unparse(ast.Import(others))[len('import ') :]}"] if others else []
        lines += ["import importlib"] if uses["reload"] else []
        reason = "Python 3.12 has no module imp any more"
        if lines:
            source.replace(node, "\n".join(lines), reason)
        else:
            source.remove_lines(node, reason)
        if uses["load_source"]:
            imports = [n for n in source.tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
            source.insert_after(imports[-1], LOAD_SOURCE.rstrip().split("\n"), reason)
        for one in uses["load_source"]:
            source.replace(one, "load_source", reason)
        for one in uses["reload"]:
            source.replace(one, "importlib.reload", reason)
        for one in source.nodes(ast.Attribute):
            if dotted(one).startswith("imp.") and one.attr not in uses:
                source.note(one, f"{dotted(one)}: Python 3.12 has no module imp any more")


def unsafe_load(source: Source) -> None:
    for call in source.nodes(ast.Call):
        given = {keyword.arg for keyword in call.keywords}
        if dotted(call.func) == "torch.load" and not given & {"weights_only", "pickle_module"}:
            end = source.end(call) - 1
            comma = "" if source.text[:end].rstrip().endswith(",") else ","
            reason = (
                "a checkpoint is read without running code from it, by every version of torch; "
                "those of this project hold tensors and plain types only"
            )
            source.edit(end, end, f"{comma} weights_only=True", reason)


TRACKER = {"__init__", "reset", "update", "avg", "result"}


def pandas_trackers(source: Source) -> None:
    for cls in source.nodes(ast.ClassDef):
        if cls.name == "MetricTracker" and set(methods(cls)) - TRACKER:
            more = ", ".join(sorted(set(methods(cls)) - TRACKER))
            source.note(
                cls, f"has more than the tracker of the base: {more}; it may fail on pandas 3"
            )
        elif cls.name == "MetricTracker":
            reason = "the tracker built on pandas fails since pandas 3"
            source.replace(cls, "from utils import MetricTracker", reason)
    for node in source.nodes(ast.Attribute):
        if node.attr == "_data" and "metrics" in dotted(node.value):
            source.note(node, "reads the pandas table of a MetricTracker: use avg() or result()")


def in_f_strings(source: Source) -> None:
    """Nothing is edited inside of these."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.JoinedStr):
            text = ast.unparse(node)
            if re.search(r"\.cuda\(|\b(np|numpy)\.(float|int|bool|object|Inf|NaN)\b", text):
                source.note(node, f"to be edited by hand: {text}")


RULES: list[Callable[[Source], None]] = [
    in_f_strings,
    hard_coded_cuda,
    removed_numpy_names,
    verbose_schedulers,
    import_imp,
    unsafe_load,
    pandas_trackers,
]
