"""The shape of the project's Python: what imports what, how large it is, what can be deleted."""

import ast
import re
import shutil
import sys
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from pathlib import Path
from random import Random

import pytest

from helpers import PROJECT, ROOT, python, succeed, tomllib
from scripts.house import LOOP, OUTSIDE, TARGETS, count_lines

# A part imports from itself and from lower layers only; those of one layer never import each other
LAYERS = [
    {"utils"},
    {"logger", "settings"},
    {"parse_config"},
    {"base"},
    {"data_loader", "model", "trainer"},
    {"train"},
    {"test", "runs"},
    {"tools"},
    {"predict", "export", "report", "sweep"},
]
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}
EXTRAS = LAYERS[-2] | LAYERS[-1]  # found by being there, or started by the user
UPWARDS = {("tools/report.py", "report")}  # a callback that writes the report after a training
SOURCES = [path for path in PROJECT.rglob("*.py") if "tests" not in path.relative_to(PROJECT).parts]
MAX_FUNCTION = 60

# Each of these files can be deleted, and any number of them
DELETABLE = sorted(path.relative_to(PROJECT).as_posix() for path in PROJECT.glob("tools/[!_]*.py"))
DELETABLE += [f"{name}.py" for name in sorted(LAYERS[-1])]


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


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes(path):
    return list(ast.walk(parse(path)))


def statements(node, late=True):
    """The import statements under a node, those in functions only if they are `late` too.

    What stands under `if TYPE_CHECKING` is never imported.
    """
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        if late or not is_function:
            yield from statements(child, late)


def imports(path, late=True):
    """The full names of what is imported: modules, and what is taken from modules."""
    for node in statements(parse(path), late):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, as the scripts need them"
            yield from (f"{node.module}.{name.name}" for name in node.names)
        else:
            yield from (name.name for name in node.names)


def files_of(starter):
    """The sources of a project with this starter, by their place in it."""
    folder = PROJECT / "starters" / starter
    chosen = [path for path in SOURCES if not is_of_a_starter(path) or folder in path.parents]
    return {place_of(path).as_posix(): path for path in sorted(chosen, key=is_of_a_starter)}


def files_imported(path, files, late=True):
    """Those of the files that the source at `path` imports, packages on the way included."""
    for name in imports(path, late):
        parts = name.split(".")
        tops = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        found = [top + end for top in tops for end in ("/__init__.py", ".py") if top + end in files]
        is_inside = part_of(path) == parts[0]  # then the package is being imported already
        yield from found[-1:] if is_inside else found


def test_imports_run_one_way(source):
    part, place = part_of(source), place_of(source).as_posix()
    for name in {name.split(".")[0] for name in imports(source)}:
        if name in LAYER and name != part and (place, name) not in UPWARDS:
            assert LAYER[name] < LAYER[part], f"{source} imports {name}"


def test_all_parts_have_a_layer():
    assert {part_of(path) for path in SOURCES} == set(LAYER)


@pytest.mark.parametrize("starter", ["mnist", "minimal", "text", "tabular", "gan"])
def test_no_circle_of_imports(starter):
    files = files_of(starter)
    graph = {place: {*files_imported(path, files)} - {place} for place, path in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_nothing_names_an_extra(source):
    """An extra is found by being there: utils/extras.py reads the folder."""
    if part_of(source) in EXTRAS or place_of(source).as_posix() == "utils/extras.py":
        return
    assert not {name.split(".")[0] for name in imports(source)} & EXTRAS
    for node in nodes(source):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not node.value.startswith("tools."), f"{source}:{node.lineno}"
        if isinstance(node, ast.Call):
            call = ast.unparse(node)
            found = re.match(r"(.*\bimport_module|__import__)\(f?['\"]tools", call)
            assert not found, f"{source}:{node.lineno}"


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
    for node in parse(source).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{source}:{node.lineno}"
        assert not isinstance(node, ast.For | ast.While | ast.With), f"{source}:{node.lineno}"


def test_each_module_says_what_it_is(source):
    module = parse(source)
    says_it = not module.body or ast.get_docstring(module) is not None
    assert says_it, f"{source} has no docstring"


def public_functions(body):
    """The functions and methods without an underscore before their name or that of their class."""
    for node in body:
        is_special = node_name(node).startswith("__") and node_name(node).endswith("__")
        if is_special or not node_name(node).startswith("_"):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node
            if isinstance(node, ast.ClassDef):
                yield from public_functions(node.body)


def node_name(node):
    return getattr(node, "name", "")


def test_all_that_is_public_has_type_hints(source):
    module, missing = parse(source), []
    methods = {one for node in module.body if isinstance(node, ast.ClassDef) for one in node.body}
    for function in public_functions(module.body):
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        is_static = any(ast.unparse(one) == "staticmethod" for one in function.decorator_list)
        named = named[function in methods and not is_static :]  # without self
        named += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
        without = [one.arg for one in named if one.annotation is None]
        without += ["return"] * (function.returns is None)
        if without:
            missing.append(f"{function.name} ({function.lineno}): {', '.join(without)}")
    assert not missing, f"{source}: no type hints: {'; '.join(missing)}"


def test_the_fields_of_dataclasses_have_type_hints(source):
    for node in nodes(source):
        decorators = [ast.unparse(one) for one in getattr(node, "decorator_list", ())]
        if any(one.startswith("dataclass") for one in decorators):
            assert not any(isinstance(one, ast.Assign) for one in node.body), node.name


def test_the_core_does_not_grow():
    """The core as imports show it: scripts/house.py, below, sees what is executed."""
    files = files_of("mnist")
    core, new = set(), {"train.py"}
    while new:
        core |= new
        late = {"train.py"}  # imports nearly all of it in functions
        new = {x for one in new for x in files_imported(files[one], files, one in late)} - core
    core = {one for one in core if not one.startswith(OUTSIDE)}
    assert sum(count_lines(files[one]) for one in core) <= TARGETS["core"]


def test_the_loop_is_read_in_one_sitting():
    assert sum(count_lines(PROJECT / name) for name in LOOP) <= TARGETS["loop"]


@pytest.mark.slow
def test_the_house_is_as_small_as_it_is_to_be(bake):
    done = python("scripts/house.py", "--check", bake(), cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_are_what_is_imported():
    packages = {"PIL": "pillow", "yaml": "pyyaml"}
    own = {*LAYER, *sys.stdlib_module_names}
    sources = [path for path in SOURCES if not is_of_a_starter(path)]
    names = {name.split(".")[0] for path in sources for name in imports(path)}
    imported = {packages.get(name, name) for name in names - own}
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


@pytest.fixture(scope="session")
def complete(bake):
    """A project that tests only copy."""
    return bake(size="full")


@pytest.fixture
def project(complete, tmp_path):
    leftovers = shutil.ignore_patterns("docs", "tests", "notebooks")
    return shutil.copytree(complete, tmp_path / "project", ignore=leftovers)


def sets_to_delete():
    """Each file alone, some pairs of files in tools/, and the folder with all of them."""
    pairs = [*combinations([name for name in DELETABLE if name.startswith("tools/")], 2)]
    return [*((name,) for name in DELETABLE), *Random(0).sample(pairs, 12), ("tools",)]


@pytest.mark.slow
@pytest.mark.parametrize("names", sets_to_delete(), ids="-".join)
def test_an_extra_can_be_deleted(names, project):
    for name in names:
        shutil.rmtree(project / name) if name == "tools" else (project / name).unlink()
    changes = ["trainer.epochs=1", "trainer.len_epoch=2"]
    flags = succeed("train.py", "--help", cwd=project)
    assert "--lr" in flags
    assert not [name for name in names if f"--{Path(name).stem.replace('_', '-')} " in flags]
    succeed("train.py", *changes, cwd=project)
    [checkpoint] = project.glob("saved/*/*/model_best.pth")
    succeed("test.py", "-r", str(checkpoint), cwd=project)
    if names == ("tools",):
        succeed("train.py", "-r", str(checkpoint), *changes, "trainer.epochs=2", cwd=project)
        succeed("test.py", "--help", cwd=project)
