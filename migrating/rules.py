"""What in the user's own code does not run any more on today's Python, NumPy and PyTorch."""

import ast
import re
from collections.abc import Callable
from typing import Any

from migrating.removed import (
    gone_modules,
    grid_b,
    inner_numpy,
    moved_imports,
    removed_attributes,
    seaborn_styles,
    unsafe_yaml,
)
from migrating.source import Source, defined, dotted, is_trainer

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
    for node in source.nodes(ast.Attribute):  # `.type(torch.cuda.FloatTensor)` too
        if (name := dotted(node)).startswith("torch.cuda.") and name.endswith("Tensor"):
            source.note(node, f"{name} makes a tensor on the GPU only")
    for call in source.nodes(ast.Call):
        name = dotted(call.func)
        _named_cuda(source, call, name)
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "cuda":
            continue
        if name == "torch.cuda":
            continue
        is_given = call.args and dotted(call.args[0]).endswith("device")  # which may be the CPU
        device = dotted(call.args[0]) if is_given else _device(source, call)
        start = source.end(call.func.value)
        more = [f", {ast.unparse(one)}" for one in call.keywords if one.arg == "non_blocking"]
        source.edit(start, source.end(call), f".to({device}{''.join(more)})", reason)


def _named_cuda(source: Source, call: Any, name: str) -> None:
    """`.to("cuda")`, `torch.device("cuda")`, `device="cuda"` and `map_location="cuda"`."""
    given = [*call.args[:1], *(one.value for one in call.keywords if one.arg in DEVICES)]
    for one in given:
        if not (isinstance(one, ast.Constant) and CUDA.fullmatch(str(one.value))):
            continue
        reason = "'cuda' fails where there is no GPU, and ignores the config's device"
        if name == "torch.device":
            source.replace(one, "'cuda' if torch.cuda.is_available() else 'cpu'", reason)
        elif name.rpartition(".")[2] in ("to", "empty", "zeros", "ones", "tensor", "load"):
            source.replace(one, _device(source, call), reason)
        elif one not in call.args:
            source.note(one, f"{ast.unparse(one)} is there with a GPU only")


DEVICES = ("device", "map_location")
CUDA = re.compile(r"cuda(:\d+)?")


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
            source.drop(node, reason)
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
    saved = {
        ast.unparse(call.args[1])
        for call in source.nodes(ast.Call)
        if dotted(call.func) == "torch.save" and len(call.args) > 1
    }
    for call in source.nodes(ast.Call):
        given = {keyword.arg for keyword in call.keywords}
        if dotted(call.func) != "torch.load" or given & {"weights_only", "pickle_module"}:
            continue
        end = source.end(call) - 1
        comma = "" if source.text[:end].rstrip().endswith(",") else ","
        if _is_of_checkpoint(source, call):
            reason = (
                "a checkpoint is read without running code from it, by every version of torch; "
                "those of this project hold tensors and plain types only"
            )
            source.edit(end, end, f"{comma} weights_only=True", reason)
        elif call.args and ast.unparse(call.args[0]) in saved:
            reason = (
                "this code has written the file by itself, and it may hold any objects, which "
                "torch 2.6 reads on request only"
            )
            source.edit(end, end, f"{comma} weights_only=False", reason)
        else:
            source.note(
                call, "torch.load reads tensors and plain types only, since torch 2.6: " + ANY
            )


ANY = "for other objects in a file of your own, weights_only=False"
IN_CHECKPOINT = {"epoch", "optimizer", "arch", "config", "monitor_best", "model", "net"}


def _is_of_checkpoint(source: Source, call: Any) -> bool:
    """Whether what is loaded is given to load_state_dict, or read by keys of a checkpoint."""
    parent = source.parents[call]
    if isinstance(parent, ast.Assign):
        names = {dotted(one) for one in parent.targets}
        around = source.around(call, ast.FunctionDef, ast.ClassDef) or source.tree
        uses = [one for one in ast.walk(around) if getattr(one, "lineno", 0) >= call.lineno]
    else:
        names, uses = {ast.unparse(call)}, [parent]
    for node in uses:
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in names:
            key = getattr(node.slice, "value", None)
            if key in IN_CHECKPOINT or "state_dict" in str(key):
                return True
        if isinstance(node, ast.Call) and dotted(node.func).endswith("load_state_dict"):
            if node.args and ast.unparse(node.args[0]) in names:
                return True
    return False


def pandas_trackers(source: Source) -> None:
    """Values set in a column of a table, which is a copy of it since pandas 3."""
    reason = "since pandas 3, a column that is taken out is a copy: nothing was counted"
    for cls in source.nodes(ast.ClassDef):
        if "DataFrame" not in source.segment(cls):
            continue
        for node in source.nodes(ast.Subscript, inside=cls):
            if isinstance(node.ctx, ast.Load):
                continue
            column = node.value
            if dotted(column).endswith(".values"):
                column, row = column.value, ":"
            elif isinstance(column, ast.Attribute) and column.attr == "values":
                column, row = column.value, ":"
            else:
                row = source.segment(node.slice)
            table, name = _column(source, column)
            if table:
                source.replace(node, f"{table}.loc[{row}, {name}]", reason)
    for node in source.nodes(ast.Attribute):
        if node.attr == "_data" and "metrics" in dotted(node.value):
            source.note(node, "reads the pandas table of a MetricTracker: use avg() or result()")


def _column(source: Source, node: Any) -> tuple[str, str]:
    """The table and the column of `self._data.total` or `self._data["total"]`."""
    if isinstance(node, ast.Subscript) and dotted(node.value).startswith("self._"):
        return dotted(node.value), source.segment(node.slice)
    if isinstance(node, ast.Attribute) and dotted(node.value).startswith("self._"):
        if node.attr not in ("loc", "iloc", "at", "iat"):
            return dotted(node.value), repr(node.attr)
    return "", ""


def doubled_lines(source: Source) -> None:
    """logging.basicConfig in an old script gives the root logger a second handler."""
    for node in source.nodes(ast.Expr):
        if isinstance(node.value, ast.Call) and dotted(node.value.func) == "logging.basicConfig":
            reason = "the project sets up logging: with this, each line came twice"
            source.drop(node, reason)


def divisions_of_the_epoch(source: Source) -> None:
    """`batch_idx % (self.len_epoch // 10)`: nothing, for an epoch of fewer batches."""
    steps = {dotted(one.right) for one in source.nodes(ast.BinOp) if isinstance(one.op, ast.Mod)}
    found = [one.right for one in source.nodes(ast.BinOp) if isinstance(one.op, ast.Mod)]
    for node in source.nodes(ast.Assign):
        value = node.value
        is_step = {dotted(one) for one in node.targets} & (steps - {""})
        if is_step and dotted(getattr(value, "func", None)) != "max":
            found += [value, *getattr(value, "args", [])]  # int(len(loader) / 10) too
    for node in found:
        is_part = isinstance(node, ast.BinOp) and isinstance(node.op, PARTS_OF)
        if is_part and LENGTH.search(ast.unparse(node)):
            reason = "an epoch of few batches, as that of --check, divided by zero here"
            source.replace(node, f"max(1, {source.segment(node)})", reason)


PARTS_OF = (ast.FloorDiv, ast.Div, ast.Mult)  # a tenth is `* 0.1` too
LENGTH = re.compile(r"len_epoch|len\(.*loader")


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
    moved_imports,
    inner_numpy,
    gone_modules,
    removed_attributes,
    grid_b,
    seaborn_styles,
    unsafe_yaml,
    verbose_schedulers,
    import_imp,
    unsafe_load,
    pandas_trackers,
    doubled_lines,
    divisions_of_the_epoch,
]
