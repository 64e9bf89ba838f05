"""Names that today's Python, NumPy, pandas, SciPy and PyTorch do not have any more."""

import ast
from typing import Any

from migrating.source import Source, dotted

PYTHON, TORCH = "Python 3.10 or later", "torch 2"
# (module, name): the import that takes its place, and since when
MOVED_IMPORTS = {
    **{
        ("collections", name): (f"from collections.abc import {name}", PYTHON)
        for name in """Callable Container Generator Hashable ItemsView Iterable Iterator KeysView
        Mapping MappingView MutableMapping MutableSequence MutableSet Sequence Set Sized
        ValuesView""".split()
    },
    ("fractions", "gcd"): ("from math import gcd", PYTHON),
    ("inspect", "getargspec"): ("from inspect import getfullargspec as getargspec", PYTHON),
    ("time", "clock"): ("from time import perf_counter as clock", PYTHON),
    ("torch._six", "container_abcs"): ("import collections.abc as container_abcs", TORCH),
    ("torch._six", "string_classes"): ("string_classes = (str, bytes)", TORCH),
    ("torch._six", "int_classes"): ("int_classes = int", TORCH),
    ("torch._six", "inf"): ("from math import inf", TORCH),
    ("torch._six", "nan"): ("from math import nan", TORCH),
    ("torch.optim.optimizer", "required"): ("required = None", TORCH),
    ("torchvision.models.utils", "load_state_dict_from_url"): (
        "from torch.hub import load_state_dict_from_url",
        "torchvision 0.13",
    ),
    ("sklearn.externals", "joblib"): ("import joblib", "scikit-learn 0.23"),
    ("scipy", "interp"): ("from numpy import interp", "SciPy 1.8"),
    ("scipy.integrate", "simps"): ("from scipy.integrate import simpson as simps", "SciPy 1.14"),
    ("tensorboardX", "SummaryWriter"): (
        "from torch.utils.tensorboard import SummaryWriter",
        "this project, whose requirements have tensorboard",
    ),
}
# Modules that are gone as a whole, and what to do
GONE_MODULES = {
    "distutils": "Python 3.12 has no distutils: see packaging, shutil and sysconfig",
    "asyncore": "Python 3.12 has no asyncore",
    "torch._six": "torch 2 has no torch._six",
    "torch.utils.ffi": "torch has no torch.utils.ffi: see torch.utils.cpp_extension",
    "sklearn.externals": "scikit-learn has no sklearn.externals: install joblib or six itself",
    "sklearn.cross_validation": "it is called sklearn.model_selection",
    "tensorboardX": "install tensorboardX, or use torch.utils.tensorboard",
    "torchtext.legacy": "torchtext is not developed any more, and has no legacy",
    "apex": "apex is not needed: see trainer.precision and torch.nn.parallel",
}
# Attributes of a module: what stands there now, or None where a person must see to it
NUMPY = {
    **{name: name for name in ("float", "int", "bool", "object", "str", "complex")},
    **{"long": "int", "unicode": "str", "Inf": "{m}.inf", "Infinity": "{m}.inf", "NaN": "{m}.nan"},
    **{"infty": "{m}.inf", "PINF": "{m}.inf", "NINF": "-{m}.inf", "float_": "{m}.float64"},
    **{"complex_": "{m}.complex128", "unicode_": "{m}.str_", "string_": "{m}.bytes_"},
    **{"product": "{m}.prod", "cumproduct": "{m}.cumprod", "sometrue": "{m}.any"},
    **{"alltrue": "{m}.all", "row_stack": "{m}.vstack", "in1d": "{m}.isin", "round_": "{m}.round"},
    **{
        "trapz": "{m}.trapezoid",
        "asscalar": None,
        "cast": None,
        "msort": None,
        "find_common_type": None,
    },
}
ATTRIBUTES: dict[str, dict[str, str | None]] = {
    "numpy": NUMPY,
    "torch": {
        **dict.fromkeys("rfft irfft ifft symeig lstsq solve eig gels matrix_rank btrifact".split()),
        "has_cudnn": "torch.backends.cudnn.is_available()",
    },
    "pandas": {"np": None, "datetime": None, "Panel": None, "Int64Index": "{m}.Index"},
    "time": {"clock": "{m}.perf_counter"},
    "inspect": {"getargspec": "{m}.getfullargspec"},
    "collections": {
        name: "{m}.abc." + name for module, name in MOVED_IMPORTS if module == "collections"
    },
    "fractions": {"gcd": None},
    "string": dict.fromkeys(("letters", "maketrans", "lowercase", "uppercase")),
    "sklearn.datasets": {"load_boston": None},
    "sklearn.preprocessing": {"Imputer": None},
    "scipy.misc": dict.fromkeys(("imread", "imresize", "imsave", "toimage", "logsumexp", "comb")),
}
# Methods that DataFrames and the like no longer have, by names that little else has
METHODS = {
    "iteritems": "items() in pandas and in Python 3",
    "ix": "loc or iloc in pandas",
    "as_matrix": "to_numpy() in pandas",
    "has_key": "`in` in Python 3",
    "applymap": "map in pandas",
    "getnnz": "nnz in SciPy, for sparse arrays",
}


def moved_imports(source: Source) -> None:
    """`from module import name` of what is elsewhere now."""
    for node in source.nodes(ast.ImportFrom):
        lines, moved = [], []
        for one in node.names:
            line, since = MOVED_IMPORTS.get((node.module, one.name), (None, ""))
            if line is not None:
                moved.append((line, since, one))
            else:
                lines.append(ast.unparse(ast.ImportFrom(node.module, [one], node.level)))
        for line, _, one in moved:
            lines.append(line if one.asname is None else f"{line}\n{one.asname} = {one.name}")
        if moved:
            names = ", ".join(one.name for _, _, one in moved)
            reason = f"{node.module} has no {names} any more, since {moved[0][1]}"
            text = ("\n" + " " * node.col_offset).join("\n".join(lines).splitlines())
            source.replace(node, text, reason)
        elif node.level == 0:
            _gone_module(source, node, node.module)
            for name in (one.name for one in node.names):
                if ATTRIBUTES.get(node.module, {}).get(name, "") is None:
                    source.note(node, f"{node.module} has no {name} any more")


def inner_numpy(source: Source) -> None:
    """`from numpy.lib.function_base import select`: such modules are private since NumPy 2."""
    for node in source.nodes(ast.ImportFrom):
        if str(node.module).startswith(("numpy.lib.", "numpy.core.")) and node.level == 0:
            if node.module not in NUMPY_MODULES:
                text = f"from numpy import {', '.join(map(ast.unparse, node.names))}"
                source.replace(node, text, f"{node.module} is private since NumPy 2")


NUMPY_MODULES = {f"numpy.lib.{x}" for x in "stride_tricks format npyio scimath mixins".split()}


def gone_modules(source: Source) -> None:
    for node in source.nodes(ast.Import):
        for one in node.names:
            _gone_module(source, node, one.name)


def _gone_module(source: Source, node: Any, module: str) -> None:
    for name, words in GONE_MODULES.items():
        if module == name or module.startswith(f"{name}."):
            source.note(node, words)


def removed_attributes(source: Source) -> None:
    """`np.float` and the like."""
    aliases = {
        one.asname or one.name: one.name
        for node in source.nodes(ast.Import)
        for one in node.names
        if one.name in ATTRIBUTES
    }
    for node in source.nodes(ast.Attribute):
        module = aliases.get(dotted(node.value))
        if module and node.attr in ATTRIBUTES[module]:
            new = ATTRIBUTES[module][node.attr]
            if new is None:
                source.note(node, f"{module} has no {node.attr} any more")
                continue
            new = new.format(m=dotted(node.value))
            reason = f"{dotted(node)} is not in {module} any more; it was the same as {new}"
            source.replace(node, new, reason)
        elif node.attr in METHODS and not isinstance(node.ctx, ast.Store):
            source.note(node, f"{node.attr}: {METHODS[node.attr]}")


def grid_b(source: Source) -> None:
    """`grid(b=True)` of Matplotlib."""
    for node in source.nodes(ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("grid", "tick_params"):
            for one in node.keywords:
                if one.arg == "b":
                    start, text = source.start(one), f"visible={source.segment(one.value)}"
                    source.edit(start, source.end(one), text, "Matplotlib 3.6 calls b visible")


def seaborn_styles(source: Source) -> None:
    """`plt.style.use('seaborn-white')`."""
    for call in source.nodes(ast.Call):
        if not dotted(call.func).endswith(("style.use", "style.context")):
            continue
        for one in source.nodes(ast.Constant, inside=call):
            name = str(one.value)
            if name.partition("-")[0] == "seaborn" and not name.startswith("seaborn-v0_8"):
                new = repr(name.replace("seaborn", "seaborn-v0_8", 1))
                source.replace(one, new, f"Matplotlib 3.8 has no style {name!r}")


def unsafe_yaml(source: Source) -> None:
    """yaml.load without a Loader is an error since PyYAML 6."""
    for call in source.nodes(ast.Call):
        if dotted(call.func) == "yaml.load" and len(call.args) == 1 and not call.keywords:
            source.replace(call.func, "yaml.safe_load", "yaml.load wants a Loader since PyYAML 6")
