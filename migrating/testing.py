"""The script that tests: where the old project has none, or one that cannot run, today's."""

import ast
import sys
from contextlib import suppress
from typing import Any

from migrating.source import defined, dotted
from migrating.tree import OldProject, parse_config

# The parts that scripts of the original import
PARTS = {"base", "data_loader", "logger", "model", "parse_config", "trainer", "utils"}
SCRIPT = '''"""Test a checkpoint with the trainer of {script}: its validation gives the values.

python test.py -r saved/<name>/<run_id>/model_best.pth
"""

from tools.old_test import test_script

if __name__ == "__main__":
    test_script("{script}")
'''


def why_unusable(old: OldProject) -> tuple[int, str]:
    """The line of the old test.py that cannot run, and why; (0, "") where all seems well."""
    tree = old.trees.get("test.py")
    if tree is None:
        return (1, "is no Python of today") if "test.py" in old.user_files else (0, "")
    if not any(map(_does_something, tree.body)):
        is_module = any(map(_imports_test, old.trees.values()))
        return (0, "") if is_module else (1, "defines functions and runs none of them")
    found = [*_wrong_imports(old, tree), *_wrong_keys(old, tree), *_wrong_calls(old, tree)]
    found += _wrong_weights(old, tree)
    return min(found, default=(0, ""))


def _does_something(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    return not isinstance(node, kinds)


def _imports_test(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "test" and not node.level:
            return True
        if isinstance(node, ast.Import) and "test" in [one.name for one in node.names]:
            return True
    return False


def _wrong_imports(old: OldProject, tree: ast.Module) -> list[tuple[int, str]]:
    """Parts of the project, and names in them, that are not there."""
    found = []
    tops = {name.partition("/")[0].removesuffix(".py") for name in old.trees}
    for node in ast.walk(tree):
        modules: list[tuple[str, list[str]]] = []
        if isinstance(node, ast.Import):
            modules = [(one.name, []) for one in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [(str(node.module), [one.name for one in node.names])]
        for module, names in modules:
            top = module.partition(".")[0]
            if top not in tops:
                if top in PARTS - sys.stdlib_module_names:
                    found.append((_line(node), f"imports {module}, which is not in the project"))
                continue
            path = module.replace(".", "/")
            inner = old.trees.get(f"{path}.py") or old.trees.get(f"{path}/__init__.py")
            is_folder = any(name.startswith(f"{path}/") for name in old.trees)
            if inner is None and not is_folder and not (old.root / f"{path}.py").exists():
                found.append((_line(node), f"imports {module}, which is not in the project"))
            elif inner is not None and not _is_open(inner):
                parts = {n[len(path) + 1 :].partition("/")[0] for n in old.trees if path + "/" in n}
                known = defined(inner) | {one.removesuffix(".py") for one in parts}
                missing = sorted(set(names) - known - {"*"})
                if missing:
                    words = f"imports {', '.join(missing)}, which {module} has not"
                    found.append((_line(node), words))
    return found


def _is_open(tree: ast.Module) -> bool:
    """Whether a module may have names that its top level does not show."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            return True
    plain = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.Expr)
    return not all(isinstance(one, (*plain, ast.AnnAssign)) or _is_main(one) for one in tree.body)


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _wrong_keys(old: OldProject, tree: ast.Module) -> list[tuple[int, str]]:
    """Keys of the config that no config has, or that hold a block where a name is wanted."""
    found = []
    configs = _configs(old)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "getattr" and len(node.args) > 1:
            keys = _keys(node.args[1])
            values = [_look_up(one, keys) for one in configs] if keys else []
            if values and all(isinstance(one, (dict, list)) for one in values):
                words = f"takes {ast.unparse(node.args[1])} for a name, and it is a block"
                found.append((_line(node), words))
        keys = _keys(node)
        if len(keys) > 1 and configs and isinstance(getattr(node, "ctx", None), ast.Load):
            if all(keys[0] in one and _look_up(one, keys) is MISSING for one in configs):
                found.append((_line(node), f"reads {ast.unparse(node)}, which no config has"))
    return found


MISSING = object()


def _configs(old: OldProject) -> list[dict[str, Any]]:
    """The configs, and those that are for tests alone, without a block `trainer`."""
    found = []
    for name in old.user_files:
        if name.endswith((".json", ".yaml", ".yml")):
            with suppress(ValueError):
                content = parse_config(name, old.text(name))
                if isinstance(content, dict) and {"arch", "data_loader", "trainer"} & {*content}:
                    found.append(content)
    return found


def _keys(node: Any) -> list[str]:
    """["data_loader", "type"] of `config["data_loader"]["type"]`; [] of anything else."""
    keys: list[str] = []
    while isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        keys.insert(0, str(node.slice.value))
        node = node.value
    return keys if dotted(node) == "config" else []


def _look_up(config: Any, keys: list[str]) -> Any:
    for key in keys:
        if not isinstance(config, dict) or key not in config:
            return MISSING
        config = config[key]
    return config


def _wrong_calls(old: OldProject, tree: ast.Module) -> list[tuple[int, str]]:
    """Calls of the config's loader with other arguments than its class takes."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        is_init = dotted(node.func).endswith((".init_obj", ".initialize")) and node.args
        if is_init and getattr(node.args[0], "value", None) == "data_loader":
            keys, fault_of = ["data_loader", "type"], _unknown
        elif isinstance(node.func, ast.Call) and dotted(node.func.func) == "getattr":
            keys = _keys(node.func.args[1]) if len(node.func.args) > 1 else []
            fault_of = _mismatch
        else:
            continue
        names = {str(_look_up(one, keys)) for one in _configs(old)} if keys else set()
        faults = [fault_of(node, cls) for name in names if (cls := _class(old, name))]
        if faults and all(faults):
            found.append((_line(node), faults[0]))
    return found


def _class(old: OldProject, name: str) -> Any:
    for tree in old.trees.values():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return next((one for one in node.body if _is_init(one)), None)
    return None


def _is_init(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def _unknown(call: Any, init: Any) -> str:
    """The keywords of a call that an __init__ does not take, as a fault."""
    known = {one.arg for one in [*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs]}
    unknown = sorted(str(one.arg) for one in call.keywords if one.arg and one.arg not in known)
    if unknown and init.args.kwarg is None:
        return f"gives the loader {', '.join(unknown)}, which it does not take"
    return ""


def _mismatch(call: Any, init: Any) -> str:
    """How a call does not fit an __init__; "" where it does."""
    if fault := _unknown(call, init):
        return fault
    given = {one.arg for one in call.keywords}
    if None in given or any(isinstance(one, ast.Starred) for one in call.args):
        return ""
    arguments = [one.arg for one in [*init.args.posonlyargs, *init.args.args]][1:]
    required = arguments[: len(arguments) - len(init.args.defaults)]
    if len(call.args) > len(arguments) and init.args.vararg is None:
        return "gives the loader more arguments than it takes"
    missing = [one for one in required[len(call.args) :] if one not in given]
    return f"does not give the loader {', '.join(missing)}" if missing else ""


def _line(node: Any) -> int:
    return int(node.lineno)


def _wrong_weights(old: OldProject, tree: ast.Module) -> list[tuple[int, str]]:
    """A whole checkpoint that is given to load_state_dict for the weights in it."""
    savers = [ast.unparse(one) for one in ast.walk(old.base_class()) if _is_save(one)]
    if not any("'state_dict':" in one for one in savers):
        return []
    read = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if dotted(node.value.func) == "torch.load":
                read |= {dotted(one) for one in node.targets}
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):  # it takes the weights out
            read.discard(dotted(node.value))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func).endswith("load_state_dict"):
            if node.args and dotted(node.args[0]) in read:
                words = "gives load_state_dict the whole checkpoint, whose weights it does not load"
                found.append((_line(node), words))
    return found


def _is_save(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "_save_checkpoint"
