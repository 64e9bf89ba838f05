"""The shape of the project's Python, read from its source before baking."""

import ast
import re
import sys
from pathlib import Path

import pytest

from helpers import PROJECT, tomllib

# A part imports from itself and from lower layers only; those of one layer never import each other
LAYERS = [
    {"utils"},
    {"logger", "settings"},
    {"parse_config"},
    {"base"},
    {"data_loader", "model", "trainer"},
    {"train"},
    {"tools"},
    {"predict", "test"},
    {"export", "report", "runs"},
]
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}
SOURCES = [path for path in PROJECT.rglob("*.py") if "tests" not in path.relative_to(PROJECT).parts]

# What is imported when it is asked for; each of these files can be deleted by itself
DELETABLE = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "tools").glob("[!_]*.py")}
DELETABLE -= {f"tools/{name}.py" for name in ("compare", "blocks", "drawing", "history")}  # shared
DELETABLE |= {"report.py", "runs.py", "predict.py", "export.py"}

# The core is all but that, the tools, the example, and what only large and old projects need
ASIDE_PARTS = {"tools", "model", "export", "predict", "report", "runs"}
ASIDE = DELETABLE | {"data_loader/mnist.py", "data_loader/data_loaders.py"}
ASIDE |= {"utils/distributed.py"}
OLD = PROJECT / "utils" / "old"  # what only older projects need
MAX_LINES = 2417  # of the core, not counting empty ones: it may shrink
MAX_FUNCTION = 60


@pytest.fixture(params=SOURCES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def source(request):
    return request.param


def is_of_a_starter(path):
    return "starters" in path.relative_to(PROJECT).parts


def place_of(path):
    """Where a source is in a project, a starter's in one that is made with it."""
    place = path.relative_to(PROJECT)
    return Path(*place.parts[2:]) if is_of_a_starter(path) else place


def part_of(path):
    """The folder or file at the top of the project that a source belongs to."""
    return place_of(path).parts[0].removesuffix(".py")


def nodes(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path):
    """The top-level names of all imports, late ones too."""
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, as the scripts need them"
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)


def test_imports_run_one_way(source):
    part = part_of(source)
    for name in imports(source):
        if name in LAYER and name != part:
            assert LAYER[name] < LAYER[part], f"{source} imports {name}"


def test_all_parts_have_a_layer():
    assert {part_of(path) for path in SOURCES} == set(LAYER)


def test_what_can_be_deleted_is_imported_late(source):
    modules = {name.removesuffix(".py").replace("/", ".") for name in DELETABLE}
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names = {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
            assert not names & modules, f"{source}:{node.lineno}"


def test_no_star_imports(source):
    names = [
        n.name for node in nodes(source) if isinstance(node, ast.ImportFrom) for n in node.names
    ]
    assert "*" not in names


def test_no_jinja(source):
    assert not re.search(r"\{\{|\{%|\{#|cookiecutter", source.read_text(encoding="utf-8"))


def test_functions_are_short(source):
    for node in nodes(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            assert node.end_lineno - first < MAX_FUNCTION, f"{source}: {node.name}"


def test_nothing_happens_on_import(source):
    """At the top stand definitions only, and no call for its effect."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{source}:{node.lineno}"
        assert not isinstance(node, ast.For | ast.While | ast.With), f"{source}:{node.lineno}"


def test_the_core_does_not_grow():
    core = [path for path in SOURCES if not is_of_a_starter(path)]
    core = [path for path in core if part_of(path) not in ASIDE_PARTS]
    core = [path for path in core if path.relative_to(PROJECT).as_posix() not in ASIDE]
    core = [path for path in core if path.parent != OLD]
    texts = [path.read_text(encoding="utf-8") for path in core]
    assert sum(bool(line.strip()) for text in texts for line in text.splitlines()) <= MAX_LINES


def test_requirements_are_what_is_imported():
    packages = {"PIL": "pillow", "yaml": "pyyaml"}
    own = {*LAYER, *sys.stdlib_module_names}
    sources = [path for path in SOURCES if not is_of_a_starter(path)]
    imported = {packages.get(x, x) for path in sources for x in imports(path) if x not in own}
    lines = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = {re.split(r"\W", line)[0] for line in lines}
    assert required <= imported | {"tensorboard"}  # that torch imports for us
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = pyproject["project"]["optional-dependencies"].values()
    assert imported <= required.union(*extras)


def test_a_starter_leaves_the_core_as_it_is():
    starters = [path for path in SOURCES if is_of_a_starter(path)]
    assert {part_of(path) for path in starters} == {"data_loader", "model", "trainer"}
    assert Path("trainer/trainer.py") not in map(place_of, starters)
