"""What each choice bakes: exactly these files, which all parse and read as if written by hand."""

import ast
import json
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from hashlib import sha256
from importlib.metadata import version
from itertools import combinations, product
from pathlib import Path

import pytest
import yaml

from helpers import PROJECT, PYTHONS, ROOT, files, interpreter, succeed, tomllib

# The files of every project; config, LICENSE, the workflow and the starter's own come by choice
ESSENTIAL = """
    .gitignore README.md parse_config.py predict.py pyproject.toml requirements.txt runs.py
    settings.py test.py train.py
    base/__init__.py base/base_data_loader.py base/base_model.py base/base_trainer.py
    base/callback.py base/sampler.py
    data_loader/__init__.py data_loader/data_loaders.py
    docs/config.md docs/data.md docs/model.md docs/runs.md
    logger/__init__.py logger/logger.py logger/visualization.py
    model/__init__.py model/loss.py model/metric.py model/model.py
    tests/test_project.py
    tools/__init__.py tools/arguments.py tools/check.py
    trainer/__init__.py trainer/trainer.py
    utils/__init__.py utils/check.py
    utils/checkpoint.py utils/command_line.py
    utils/device.py utils/distributed.py utils/errors.py utils/extras.py
    utils/files.py utils/inferred.py utils/meter.py
    utils/optim.py utils/processes.py utils/resume.py
    utils/run.py utils/run_dir.py utils/seed.py
""".split()
# What a full one has beside
EXTRAS = """
    .editorconfig .pre-commit-config.yaml export.py report.py
    docs/clusters/job.yaml docs/clusters/train.sbatch
    docs/extras.md docs/faults.md docs/fine_tune.md docs/install.md docs/many_gpus.md
    docs/migrating.md docs/more_config.md docs/speed.md docs/streams.md docs/two_optimizers.md
    docs/updating.md
    docs/using.md
    docs/watching.md
    tools/advice.py tools/alone.py tools/background.py tools/bar.py tools/by_group.py
    tools/changes.py tools/compare.py tools/convert.py tools/data_wait.py
    tools/worker_data.py
    tools/parameter_groups.py
    tools/drawing.py tools/fast_dev_run.py tools/find_lr.py tools/first_batches.py tools/freeze.py
    tools/from_data.py tools/fsdp.py
    tools/history.py tools/init_from.py tools/manifest.py tools/metrics.py tools/monitor.py
    tools/overfit_batches.py tools/own_batches.py tools/permutation.py tools/pictures.py
    tools/predictions.py tools/profile.py tools/progress_metrics.py
    tools/quiet_end.py tools/splits.py
    tools/ema.py tools/recompute.py tools/record.py tools/replay.py tools/report.py tools/schema.py
    tools/save_minutes.py tools/skip_steps.py
    tools/several_optimizers.py tools/stop_soon.py tools/stop_validation.py
    tools/steps.py tools/streams.py tools/summary.py tools/sync_batch_norm.py
    tools/trackers.py tools/unshard.py
    tools/verify_resume.py
    docs/sweep.md sweep.py tools/folds.py tools/groups.py tools/plan.py tools/search.py
    tools/study.py tools/sweep_table.py tools/targets.py tools/trial.py tools/watchers.py
    tools/work.py
    tools/world_size.py
""".split()
# Of an essential project, 55 files but for those of a starter; lines that are not blank
MOST_FILES, MOST_LINES = 57, 3730

STARTER_FILES = {
    "mnist": ["data/mnist_5k.npz"],
    "minimal": ["data/penguins.npz"],
    "text": ["data/names.csv", "data_loader/names.py"],
    "tabular": ["data/diamonds.csv", "data_loader/diamonds.py"],
    "gan": ["data/mnist_5k.npz", "trainer/gan_trainer.py", "tools/several_optimizers.py"],
}

ANSWERS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
PROMPTS = {k: v for k, v in ANSWERS.items() if isinstance(v, list) and not k.startswith("_")}


def torch_version():
    return tuple(int(number) for number in version("torch").split(".")[:2])


def pairs(row):
    return set(combinations(row.items(), 2))


def all_pairs(prompts):
    """Few rows of choices, so that each two choices of different prompts meet in one of them."""
    rows = [dict(zip(prompts, choices, strict=True)) for choices in product(*prompts.values())]
    missing = set().union(*map(pairs, rows))
    chosen = []
    while missing:
        chosen.append(max(rows, key=lambda row: len(pairs(row) & missing)))
        missing -= pairs(chosen[-1])
    return chosen


def ids(row):
    return "-".join(row.values())


@pytest.fixture(scope="module", params=all_pairs(PROMPTS), ids=ids)
def row(request):
    return request.param


@pytest.fixture(scope="module")
def project(row, bake):
    """A project that tests only read."""
    return bake(**row, author="Ada Lovelace")


def test_files(project, row):
    chosen = {f"config.{row['config_format']}", *STARTER_FILES[row["starter"]]}
    if row["license"] != "none":
        chosen.add("LICENSE")
    if row["docker"] == "yes":
        chosen |= {"Dockerfile", ".dockerignore", ".devcontainer/devcontainer.json"}
    if row["size"] == "full":
        chosen |= {*EXTRAS, *["notebooks/first_steps.ipynb"] * (row["starter"] == "mnist")}
        chosen |= {*[".github/workflows/tests.yml"] * (row["github_actions"] == "yes")}
    if row["size"] == "full" or row["config_format"] == "yaml":
        chosen.add("utils/yaml_config.py")
    assert files(project) == {*ESSENTIAL, *chosen}


def test_the_docs_say_where_the_data_are_from(project, row):
    """Those of the starter, with the license that is to be kept with them."""
    [data_file] = [path.name for path in (project / "data").iterdir()]
    _, own = (project / "docs/data.md").read_text(encoding="utf-8").split("data of this project\n")
    named = {Path(name).name for names in STARTER_FILES.values() for name in names}
    assert {name for name in named if name in own} == {data_file}
    assert "opyright" in own or "CC0" in own


@pytest.mark.parametrize("starter", STARTER_FILES)
def test_an_essential_project_is_small(starter, bake):
    project = bake(starter=starter)
    sources = [path.read_text(encoding="utf-8") for path in project.rglob("*.py")]
    n_lines = sum(bool(line.strip()) for text in sources for line in text.splitlines())
    assert len(files(project)) <= MOST_FILES and n_lines <= MOST_LINES


def test_a_full_project_adds_files_and_changes_none(bake):
    essential, full = bake(), bake(size="full")
    assert files(essential) < files(full)
    for name in files(essential):
        assert (essential / name).read_bytes() == (full / name).read_bytes(), name


@pytest.mark.parametrize("size", ["essential", "full"])
def test_pages_speak_of_what_is_there(size, bake):
    """Their links lead to files and headings; an essential project has no flags of extras."""
    project, full = bake(size=size), bake(size="full")
    flags = [
        path.stem for path in full.glob("tools/*.py") if "\nFLAG = " in path.read_text("utf-8")
    ]
    missing = [name for name in flags if not (project / "tools" / f"{name}.py").exists()]
    for page in [project / "README.md", *project.glob("docs/*.md")]:
        text = page.read_text(encoding="utf-8")
        for name in missing:
            assert f"--{name.replace('_', '-')}" not in text, (page.name, name)
        prose = re.sub("```.*?```", "", text, flags=re.DOTALL)
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", prose):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.is_file(), (page.name, link)
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
            assert not anchor or anchor in anchors, (page.name, link)


def test_git_takes_these_files_and_leaves_out_what_runs_write(project, tmp_path):
    def git(*arguments):
        command = ["git", f"--git-dir={tmp_path / 'git'}", f"--work-tree={project}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    lines = (project / ".gitignore").read_text(encoding="utf-8").split("\n")
    assert not [line for line in filter(None, lines) if lines.count(line) > 1]
    git("init", "--quiet")
    git("add", ".")
    assert set(git("ls-files").splitlines()) == files(project)
    written = ["saved/a/b/last.pth", "data/MNIST/raw/x", "base/__pycache__/x.pyc", ".venv/x"]
    assert git("check-ignore", *written).splitlines() == written


def test_nothing_of_the_template_is_left(project):
    for name in files(project):
        text = (project / name).read_bytes().decode(errors="replace")
        for mark in ("{{", "{%", "{#", *["cookiecutter"] * (name != "README.md")):
            assert name.endswith(".npz") or mark not in text.lower(), f"{mark} in {name}"


def test_all_but_a_few_files_are_as_in_the_template(project, row):
    """All go through Jinja, so that `cookiecutter -s` can skip any; few have something for it."""
    rendered = {"LICENSE", "README.md", "docs/data.md", "pyproject.toml"}
    rendered.add(".devcontainer/devcontainer.json")
    starter = PROJECT / "starters" / row["starter"]
    edited = {".gitignore", "config.json", "config.yaml", "requirements.txt"}  # by the hook
    for name in files(project) - rendered - edited:
        source = starter / name if (starter / name).exists() else PROJECT / name
        same = (project / name).read_bytes() == source.read_bytes()
        assert same, f"{name} has something like {{{{, {{% or {{# in it"


@pytest.mark.parametrize("version", PYTHONS)
def test_the_sources_are_valid_in_each_python(version):
    if not (found := interpreter(version)):
        pytest.skip(f"there is no Python {version} here")
    sources = [*PROJECT.rglob("*.py"), *ROOT.glob("*.py"), *ROOT.glob("hooks/*.py")]
    code = "import sys\nfor name in sys.argv[1:]: compile(open(name, 'rb').read(), name, 'exec')"
    command = [found, "-W", "error", "-c", code, *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_file_parses(project):
    parsers = {
        ".json": json.loads,
        ".py": ast.parse,
        ".toml": tomllib.loads,
        ".yaml": lambda text: list(yaml.safe_load_all(text)),
        ".yml": yaml.safe_load,
    }
    for name in files(project):
        path = project / name
        if path.suffix in parsers:
            parsers[path.suffix](path.read_text(encoding="utf-8"))


def test_ruff_finds_nothing(project):
    succeed("-m", "ruff", "check", "--no-cache", cwd=project)
    succeed("-m", "ruff", "format", "--no-cache", "--check", cwd=project)


@pytest.mark.slow
@pytest.mark.skipif(torch_version() < (2, 13), reason="the hints of torch differ between versions")
def test_mypy_finds_nothing(bake, tmp_path):
    """In each starter's project, and in migrate.py: all share what is known of torch.

    The projects come to the same folder, so that a file that is in two of them is looked at once.
    """
    place, command = tmp_path / "project", ("-m", "mypy", "--cache-dir", tmp_path / "cache")
    for answers in [*({"starter": one, "size": "full"} for one in STARTER_FILES), {}]:
        shutil.copytree(bake(**answers), place)
        succeed(*command, cwd=place)
        shutil.rmtree(place)
    succeed(*command, cwd=ROOT)


# Of the words of the license texts, title included, copyright line left out
LICENSES = {
    "MIT": "7c9b48b52decb9837c70f608678129e1ac79e056829c8d1e82e8cdd8aed562f8",
    "BSD-3-Clause": "77bebd765dc6e78c3feb4e9856b5d733a736a0ce9621764f9a604daf488d6941",
    "Apache-2.0": "0649bc87ac07c40d996369e9e058b11734e3eedb25ae8be9e6293f1efb340353",
}


def test_license(project, row):
    """The words are those of the official texts, and the copyright line says who and when."""
    if row["license"] == "none":
        return
    text = (project / "LICENSE").read_text(encoding="utf-8")
    year = datetime.now(timezone.utc).year
    holders = {
        "MIT": f"Copyright (c) {year} Ada Lovelace",
        "BSD-3-Clause": f"Copyright (c) {year}, Ada Lovelace",
        "Apache-2.0": f"   Copyright {year} Ada Lovelace",
    }
    assert [line for line in text.splitlines() if "Ada" in line] == [holders[row["license"]]]
    words = " ".join(text.replace(holders[row["license"]], "").split())
    assert sha256(words.encode()).hexdigest() == LICENSES[row["license"]]


def test_every_file_is_as_editorconfig_says(project):
    for name in files(project):
        if not name.endswith(".npz"):
            text = (project / name).read_bytes().decode("utf-8")
            assert "\r" not in text and "\t" not in text, name
            assert not text or text.endswith("\n"), name
            assert not any(line.endswith(" ") for line in text.splitlines()), name


def test_tensorboard(project, row):
    wanted = row["tensorboard"] == "yes"
    # YAML is a superset of JSON
    config = yaml.safe_load((project / f"config.{row['config_format']}").read_text("utf-8"))
    requirements = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert config["trainer"]["tensorboard"] is wanted
    assert ("tensorboard" in requirements) is wanted
    assert pyproject["project"]["dependencies"] == requirements


def test_what_is_imported_is_required(project):
    """By the parts that a starter brings; the others are looked at before baking."""
    requirements = (project / "requirements.txt").read_text(encoding="utf-8")
    own = {path.stem for path in project.iterdir()}
    for path in [
        p for part in ("data_loader", "model", "trainer") for p in project.glob(f"{part}/*")
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in {one.split(".")[0] for one in names} - own - sys.stdlib_module_names:
                assert name in requirements, f"{path} imports {name}"


def test_the_smallest_starter_is_small():
    sources = [*(PROJECT / "starters" / "minimal").glob("*/*.py")]
    code = [path.read_text(encoding="utf-8") for path in sources if "tests" not in path.parts]
    assert (
        len(code) == 3
        and sum(bool(line.strip()) for text in code for line in text.splitlines()) < 60
    )


@pytest.mark.parametrize("starter", STARTER_FILES)
def test_both_formats_hold_the_same_config(starter):
    folder = PROJECT if starter == "mnist" else PROJECT / "starters" / starter
    as_json = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) == as_json


def test_hooks_need_the_standard_library_alone():
    for path in (ROOT / "hooks").iterdir():
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    assert {name.name for name in node.names} <= sys.stdlib_module_names
                if isinstance(node, ast.ImportFrom):
                    assert node.module in sys.stdlib_module_names


def test_ruff_finds_nothing_in_the_template_itself():
    succeed("-m", "ruff", "check", "--no-cache", cwd=ROOT)
    succeed("-m", "ruff", "format", "--no-cache", "--check", cwd=ROOT)


def test_all_promised_versions_are_tested():
    """The oldest torch with the oldest Python, and each Python since."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    [oldest] = matrix["include"]
    assert (oldest["python"], *matrix["python"]) == PYTHONS
    requirements = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    assert oldest["torch"].replace("==", ">=").removesuffix(".0") in requirements.splitlines()
    pyproject = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={PYTHONS[0]}"' in pyproject
