"""What README.md, CONTRIBUTING.md and the project's pages tell people to type, typed by bash."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from helpers import ENVIRONMENT, PROJECT, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", PROJECT / "README.md"]
PAGES += sorted((PROJECT / "docs").glob("*.md"))
PROGRAMS = "cookiecutter|conda|cruft|docker|git|make|pip|pre-commit|python3?|tensorboard|uvx?"

# The test that runs each command as it stands, but for what stands for a path; a new command has to
# find its place here, or among those below
DOCS = "tests/project/test_docs.py::test_a_page_is_true"
PREDICT = "tests/project/test_predict.py::test_the_commands_of_the_docs"
INSTALLING = "tests/test_installing.py::test_"
PLACES = {
    r"python (train|test|report|runs)\.py\b.*": DOCS,
    r"python (predict|export)\.py\b.*": PREDICT,
    r"python sweep\.py.*": "tests/test_sweep_runs.py::test_the_commands_of_the_page",
    r"python -m tools\.convert .*": "tests/test_migrate.py::test_old_checkpoints_of_each_era",
    r"python -m tools\.groups": "tests/test_sweep_runs.py::test_seeds_and_folds_are_ordinary_runs",
    r"python -m tools\.old_\w+ .*": "tests/test_migrate.py::test_an_old_project_trains_resumes",
    r"python migrate\.py .*": "tests/test_migrate.py::test_the_command_says_what_it_did",
    r"python benchmarks/.*": "tests/test_benchmarks.py::test_each_benchmark_ends_with_its_table",
    r"python scripts/make_report.*": "tests/test_benchmarks.py::test_the_picture_of_the_readme",
    r"python scripts/house.*": "tests/test_structure.py::test_the_house_is_as_small_as_it_is_to_be",
    r"python scripts/digest_w.*": "tests/test_benchmarks.py::test_weights_are_compared_bit_for_bit",
    r"cookiecutter path.*": f"{INSTALLING}the_first_steps_of_the_readme",
    r"cookiecutter \. .*|python3 -m venv .*": "tests/test_commands.py::test_the_demo_of_the_readme",
    r"cruft .*": "tests/test_updates.py::test_the_commands_of_the_docs",
    r"git (add|commit|diff HEAD|reset --hard)": "tests/test_updates.py::test_a_conflict_is_for",
    r"make .*": "tests/test_commands.py::test_make",
    r"python -m pytest.*|\.\./\.venv/bin/python -m pytest": "tests/test_commands.py::test_make",
    r"pip install -c constraints.*": "tests/test_commands.py::test_make_demo_does_what_the_readme",
    r"pip install .*|python -m venv .*": f"{INSTALLING}all_that_pip_is_told_to_install",
    r"uv (venv|pip install .*)": f"{INSTALLING}uv",
    r"uv (sync|run train\.py)": f"{INSTALLING}uv_with_a_lock_file",
    r"uvx cookiecutter.*": "tests/test_ways_in.py::test_uvx",
    r"pre-commit install": f"{INSTALLING}pre_commit",
    r"tensorboard --logdir saved": "tests/test_browser.py::test_tensorboard",
    r"docker (build|run) ((?!cu128|--gpus).)*": f"{INSTALLING}docker",
}
NOT_RUN = {
    r"python scripts/make_sweep.*": "takes minutes; its commands are those of docs/sweep.md",
    r"git tag .*": "makes a version of the template",
    r"conda create .*": "takes conda and its channel; test_conda_gets_what_pip_gets reads the line",
    r"python scripts/try_versions.*": "installs gigabytes",
    r"docker .*(cu128|--gpus).*": "takes Docker and a GPU; without them the build is the same",
}


def blocks(page):
    """The texts that stand apart as code, without a language."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [block for language, block in fenced if not language]


def commands(page):
    lines = [line for block in blocks(page) for line in block.splitlines()]
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", page.read_text(encoding="utf-8"))
    for line in lines + inline:
        command = line.split("  #")[0].split("   #")[0].strip().removeprefix("$ ")
        if re.match(rf"(cd \S+ && )?({PROGRAMS}) \S", " ".join(command.split())):
            yield re.sub(r"^cd \S+ && ", "", " ".join(command.split()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_is_run_somewhere(page):
    for command in commands(page):
        assert any(re.fullmatch(known, command) for known in PLACES | NOT_RUN), command


@pytest.mark.parametrize("place", sorted(set(PLACES.values())))
def test_the_tests_that_run_them_are_there(place):
    file, name = place.split("::")
    assert f"\ndef {name}" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pip_reads_files_and_groups_that_are_there(page):
    folder = PROJECT if page.is_relative_to(PROJECT) else ROOT
    for command in commands(page):
        if re.match("(uv )?pip install ", command) and page.name != "README.md":
            for name in re.findall(r"(?:-r|-c) '?([^\s']+)", command):
                assert (folder / name).exists(), command
            for group in re.findall(r"--group (\S+)", command):
                assert re.search(rf"^{group} = ", (PROJECT / "pyproject.toml").read_text(), re.M)


@pytest.fixture
def bash(tmp_path):
    """Type some lines into bash, where installing packages is left out."""
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    (stubs / "pip").write_text("#!/bin/sh\n", encoding="utf-8")
    (stubs / "pip").chmod(0o755)
    (tmp_path / "home").mkdir()
    path = os.pathsep.join([str(stubs), os.path.dirname(sys.executable), os.environ["PATH"]])

    def bash(script, cwd, text="", status=0):
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=cwd,
            env=ENVIRONMENT | {"PATH": path, "HOME": str(tmp_path / "home")},
            input=text,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == status, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return bash


def block_with(page, text):
    [found] = [block for block in blocks(page) if text in block]
    return found.replace("<run_id>", "*")


def test_the_mistake_in_the_readme(bash, bake):
    project = bake(size="full")
    config = (project / "config.json").read_text(encoding="utf-8")
    (project / "config.json").write_text(config.replace('"lr"', '"learning_rate"'), "utf-8")
    command, expected = block_with(ROOT / "README.md", "$ ").removeprefix("$ ").split("\n", 1)
    assert bash(command, project, status=2) == expected


@pytest.mark.slow
def test_the_demo_of_the_readme(bash, template, tmp_path):
    clone = shutil.copytree(template, tmp_path / "clone")
    script = block_with(ROOT / "README.md", "python3 -m venv")
    script = script.replace("python3 -m venv .venv && . .venv/bin/activate", "")
    output = bash(script, clone)
    accuracy = re.search(r"^accuracy +(\S+)$", output, re.MULTILINE)
    assert float(accuracy[1]) > 0.96
    first, shown = (
        re.search(r"^epoch   1  loss (\S+)", text, re.MULTILINE)
        for text in (output, (ROOT / "README.md").read_text(encoding="utf-8"))
    )
    assert float(first[1]) == pytest.approx(float(shown[1]), rel=0.005)  # processors differ less
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert all("matplotlib" in path.parts for path in left)  # its fonts, for the report


@pytest.fixture
def clone(template, tmp_path):
    """A clone whose environment is this one."""
    clone = shutil.copytree(template, tmp_path / "clone")
    (clone / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        if (target := Path(sys.prefix, name)).exists():
            (clone / ".venv" / name).symlink_to(target)
    (clone / ".venv" / "installed").touch()
    return clone


def test_make_demo_does_what_the_readme_says(bash, clone):
    lines = bash("make --dry-run demo", clone).splitlines()
    recipe = [re.sub(r'^cd \S+ && |"|\S+/bin/|  #.*', "", line) for line in lines]
    said = block_with(ROOT / "README.md", "python3 -m venv").splitlines()
    assert [line for line in said[3:] if not line.startswith("cd ")] == recipe[:-1]


def test_make(bash, clone):
    assert "All checks passed" in bash("make lint", clone)
    for target in ("fast", "test"):
        [recipe] = bash(f"make --dry-run {target}", clone).splitlines()
        one = "tests/test_helpers.py"  # to collect all takes a while; this very run does it
        assert re.search(r"\btests? collected", bash(f"{recipe} --co -q {one}", clone))
    bash("make clean", clone)
    assert not (clone / ".venv").exists() and Path(sys.prefix, "bin").exists()


def test_pytest_in_the_project(bash, bake):
    [line] = [c for c in commands(PROJECT / "README.md") if c.endswith("python -m pytest")]
    assert "tests collected" in bash(f"{line} --co -q -p no:cacheprovider", bake())


def test_the_workflow_of_the_project(bash, bake):
    """Its steps, as far as without a package index; the CPU build of torch comes first."""
    project = bake(size="full")
    workflow = yaml.safe_load((project / ".github/workflows/tests.yml").read_text("utf-8"))
    lines = [step["run"] for step in workflow["jobs"]["tests"]["steps"] if "run" in step]
    assert lines[0] == "pip install torch --index-url https://download.pytorch.org/whl/cpu"
    assert lines[-1] == "python -m pytest"
    output = bash("\n".join(lines) + " --co -q -p no:cacheprovider", project)
    assert "All checks passed" in output and "tests collected" in output


def test_uv_takes_the_commands_of_the_docs(bash, bake):
    """As far as without a package index: it knows all options, then finds no package."""
    project = bake()
    bash("uv venv --quiet", project)
    lines = [c for c in commands(PROJECT / "docs" / "install.md") if c.startswith("uv pip")]
    assert len(lines) == 2
    for line in lines:
        output = bash(f"{line} --offline --no-cache", project, status=1)
        assert "No solution found" in output and "the network was disabled" in output


def test_uv_takes_torch_from_the_index_of_the_docs(bash, tmp_path):
    """With a package that is torch by name alone, in a folder that stands for the index."""
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "torch-2.99.0-py3-none-any.whl", "w") as wheel:
        about = "Metadata-Version: 2.1\nName: torch\nVersion: 2.99.0\n"
        wheel.writestr("torch-2.99.0.dist-info/METADATA", about)
        wheel.writestr("torch-2.99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("torch-2.99.0.dist-info/RECORD", "")
    page = (PROJECT / "docs" / "install.md").read_text(encoding="utf-8")
    [pattern] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    pattern = re.sub(r'url = ".*"', f'url = "{index.as_uri()}"\nformat = "flat"', pattern)
    about = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.10"\n'
    text = f'{about}dependencies = ["torch>=2.6"]\n{pattern}'
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    bash("uv lock --offline", tmp_path)
    lock = (tmp_path / "uv.lock").read_text(encoding="utf-8")
    assert re.search(rf'name = "torch"\nversion = "2.99.0"\nsource = .*{index.name}', lock)


def test_conda_gets_what_pip_gets():
    [line] = [c for c in commands(PROJECT / "docs" / "install.md") if c.startswith("conda create")]
    requirements = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [re.match(r"[\w-]+", line)[0].replace("torch", "pytorch") for line in requirements]
    assert line.split("python=3.12 ")[1].split() == names


def test_the_container_copies_files_that_are_there(bake):
    project = bake(docker="yes")
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    sources = re.findall(r"^COPY (\S+)", dockerfile, re.MULTILINE)
    assert sources and all((project / source).exists() for source in sources)
    assert re.findall(r"^CMD (.*)", dockerfile, re.MULTILINE) == ['["python", "train.py"]']
