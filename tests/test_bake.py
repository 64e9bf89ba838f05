"""What each choice bakes: exactly these files, which all parse and read as if written by hand."""

import ast
import json
import sys
from datetime import datetime, timezone
from itertools import combinations, product

import pytest
import yaml

from helpers import PROJECT, ROOT, files, succeed, tomllib

# The files of every project; config, LICENSE and the workflow come by choice
FILES = """
    .editorconfig .gitignore .pre-commit-config.yaml
    README.md config.schema.json pyproject.toml requirements.txt
    parse_config.py report.py runs.py settings.py test.py train.py
    base/__init__.py base/base_data_loader.py base/base_model.py base/base_trainer.py
    base/sampler.py
    data/README.md data/mnist_5k.npz
    data_loader/__init__.py data_loader/data_loaders.py data_loader/mnist.py
    logger/__init__.py logger/epoch_log.py logger/logger.py
    logger/drawing.py logger/history.py logger/metrics_csv.py logger/pictures.py
    logger/progress.py logger/trackers.py logger/visualization.py
    model/__init__.py model/loss.py model/metric.py model/model.py
    docs/checkpoints.md docs/config.md docs/data.md docs/faults.md docs/migrating.md
    docs/notebook.md docs/watching.md
    tests/conftest.py tests/test_checkpoint.py tests/test_commands.py tests/test_config.py
    tests/test_contract.py
    tests/test_data_loader.py tests/test_meter.py tests/test_model.py tests/test_trainer.py
    tests/test_schema.py tests/test_faults.py tests/test_old_checkpoints.py tests/test_tools.py
    tests/test_history.py tests/test_report.py tests/test_switches.py tests/test_trackers.py
    tests/test_watching.py
    tools/__init__.py tools/check.py tools/compare.py tools/fast_dev_run.py tools/overfit_batches.py
    tools/predictions.py tools/replay.py tools/unshard.py tools/verify_resume.py tools/schema.py
    trainer/__init__.py trainer/trainer.py
    utils/__init__.py utils/check.py utils/checkpoint.py utils/device.py
    utils/distributed.py utils/errors.py utils/files.py utils/finite.py utils/groups.py
    utils/lookup.py utils/loop.py utils/manifest.py
    utils/meter.py utils/old/__init__.py utils/old/checkpoint.py utils/old/names.py
    utils/precision.py utils/record.py utils/resume.py
    utils/schedule.py utils/seed.py utils/sharded.py utils/signals.py
    predict.py export.py tools/find_lr.py tools/summary.py
    docs/using.md notebooks/first_steps.ipynb
    tests/test_before_training.py tests/test_export.py tests/test_notebooks.py tests/test_predict.py
""".split()

# Every pair of choices of two prompts stands in some row
PROMPTS = ("license", "config_format", "tensorboard", "github_actions")
ROWS = [
    ("MIT", "json", "yes", "yes"),
    ("MIT", "yaml", "no", "no"),
    ("BSD-3-Clause", "json", "no", "no"),
    ("BSD-3-Clause", "yaml", "yes", "yes"),
    ("Apache-2.0", "json", "yes", "no"),
    ("Apache-2.0", "yaml", "no", "yes"),
    ("none", "json", "no", "yes"),
    ("none", "yaml", "yes", "no"),
]


@pytest.fixture(scope="module", params=ROWS, ids="-".join)
def row(request):
    return dict(zip(PROMPTS, request.param, strict=True))


@pytest.fixture(scope="module")
def project(row, bake):
    """A project that tests only read."""
    return bake(**row, author="Ada Lovelace")


def test_rows_cover_all_pairs():
    prompts = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    choices = {k: v for k, v in prompts.items() if isinstance(v, list) and not k.startswith("_")}
    assert tuple(choices) == PROMPTS
    wanted = [product(*pair) for pair in combinations(choices.values(), 2)]
    covered = [set(zip(*pair, strict=True)) for pair in combinations(zip(*ROWS, strict=True), 2)]
    assert covered == [set(pairs) for pairs in wanted]


def test_files(project, row):
    chosen = {f"config.{row['config_format']}"}
    if row["license"] != "none":
        chosen.add("LICENSE")
    if row["github_actions"] == "yes":
        chosen.add(".github/workflows/tests.yml")
    assert files(project) == {*FILES, *chosen}


def test_nothing_of_the_template_is_left(project):
    for name in files(project):
        text = (project / name).read_bytes().decode(errors="replace")
        for mark in ("{{", "{%", "{#", "cookiecutter"):
            assert name.endswith(".npz") or mark not in text.lower(), f"{mark} in {name}"


def test_every_file_parses(project):
    parsers = {
        ".json": json.loads,
        ".py": ast.parse,
        ".toml": tomllib.loads,
        ".yaml": yaml.safe_load,
        ".yml": yaml.safe_load,
    }
    for name in files(project):
        path = project / name
        if path.suffix in parsers:
            parsers[path.suffix](path.read_text(encoding="utf-8"))


def test_ruff_finds_nothing(project):
    succeed("-m", "ruff", "check", "--no-cache", cwd=project)
    succeed("-m", "ruff", "format", "--no-cache", "--check", cwd=project)


def test_license(project, row):
    path = project / "LICENSE"
    titles = {
        "MIT": "MIT License",
        "BSD-3-Clause": "BSD 3-Clause License",
        "Apache-2.0": "Apache License",
    }
    if row["license"] in titles:
        text = path.read_text(encoding="utf-8")
        [holder] = [line for line in text.splitlines() if "Ada Lovelace" in line]
        assert text.lstrip().split("\n")[0] == titles[row["license"]]
        assert str(datetime.now(timezone.utc).year) in holder


def test_tensorboard(project, row):
    wanted = row["tensorboard"] == "yes"
    # YAML is a superset of JSON
    config = yaml.safe_load((project / f"config.{row['config_format']}").read_text("utf-8"))
    requirements = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert config["trainer"]["tensorboard"] is wanted
    assert ("tensorboard" in requirements) is wanted
    assert pyproject["project"]["dependencies"] == requirements


def test_both_formats_hold_the_same_config():
    as_json = json.loads((PROJECT / "config.json").read_text(encoding="utf-8"))
    as_json.pop("$schema")  # in YAML it is a comment
    assert yaml.safe_load((PROJECT / "config.yaml").read_text(encoding="utf-8")) == as_json


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
