"""The commands that install something, with a real package index and into places of their own.

They take the CPU build of the torch in constraints.txt; without one at hand they are skipped, since
others are gigabytes. Whatever else cannot be reached is the reason of a skip, too.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from helpers import ENVIRONMENT, PROJECT, ROOT
from test_commands import PAGES, block_with, commands

pytestmark = pytest.mark.slow

# Where uv would install; without bytecode each start would compile all of torch anew
LEFT_OUT = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONDONTWRITEBYTECODE")
TESTS = ROOT / "tests" / "project"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For what is too large to be kept."""
    folder = tmp_path_factory.mktemp("installing")
    (folder / "home").mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def wheels(template, folder):
    """A folder with torch and what it needs, as in the index of PyTorch's builds."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    torch = ["--constraint", str(template / "constraints.txt"), "torch"]
    report = ["install", "--dry-run", "--ignore-installed", "--no-deps", "--report", "-"]
    done = subprocess.run([*pip, *report, *torch], capture_output=True, encoding="utf-8")
    if done.returncode:
        pytest.skip(f"pip cannot get torch here: {done.stderr}")
    [found] = json.loads(done.stdout)["install"]
    if sys.platform == "linux" and "+cpu" not in found["metadata"]["version"]:
        pytest.skip("no CPU build of torch here; PIP_EXTRA_INDEX_URL can name an index of them")
    subprocess.run([*pip, "download", "--dest", folder / "wheels", *torch], check=True)
    return folder / "wheels"


@pytest.fixture(scope="module")
def bash(template, folder, wheels):
    """Type lines into bash, with the `.venv` of a folder; the output of what has to succeed."""

    def bash(script, cwd, venv=folder, text="", **variables):
        path = [str(venv / ".venv" / "bin"), os.path.dirname(sys.executable), os.environ["PATH"]]
        environment = {k: v for k, v in ENVIRONMENT.items() if k not in LEFT_OUT}
        environment |= {"PATH": os.pathsep.join(path), "HOME": str(folder / "home")}
        for tool in ("PIP", "UV"):
            environment[f"{tool}_CONSTRAINT"] = str(template / "constraints.txt")
            environment[f"{tool}_FIND_LINKS"] = str(wheels)
        environment |= {"PIP_RETRIES": "1", "UV_HTTP_RETRIES": "1", "UV_LINK_MODE": "hardlink"}
        environment["PIP_COMPILE"] = "0"  # nothing of what is never imported
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=cwd,
            env=environment | {"UV_CACHE_DIR": str(folder / "uv")} | variables,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        if done.returncode:
            raise CommandFailed(f"{script}\n{done.stdout}")
        return done.stdout

    return bash


class CommandFailed(AssertionError):
    """Of a line in bash; with what it printed."""


@pytest.fixture(scope="module")
def first_steps(bash, template, folder):
    """From nothing to an evaluated model: the new project, and what was printed."""
    readme = ROOT / "README.md"
    steps = [block_with(readme, "\ncookiecutter path"), block_with(readme, "\npip install torch ")]
    script = "\n".join(steps).replace("path/or/url/of/this/repo", str(template))
    bash("python -m venv .venv", folder)
    return folder / "my-torch-project", bash(script, folder, text="\n" * 20)


def test_the_first_steps_of_the_readme(first_steps):
    project, output = first_steps
    assert "Name of the project" in output
    accuracy = re.search(r"^accuracy +(\S+)$", output, re.MULTILINE)
    assert float(accuracy[1]) > 0.96, output
    assert len([*project.glob("saved/Mnist_LeNet/*/model_best.pth")]) == 1


def test_all_that_pip_is_told_to_install(first_steps, bash):
    """On any page; then the project can do what these packages are for."""
    project, _ = first_steps
    found = {line for page in PAGES for line in commands(page) if line.startswith("pip install")}
    found -= {line for line in found if "requirements-dev.txt" in line}  # make does it: see there
    assert len(found) > 8
    bash("pip install --upgrade pip", project)
    for line in sorted(found):
        bash(f"{line}{' --co -q' * line.endswith('pytest')}", project)
    bash("pip check", project)
    bash("python -c 'import cruft, optuna'", project)
    used = {"test_export": "read_what_was_written", "test_predict": "of_the_docs or bad_input"}
    for file, name in used.items():
        output = bash(f"python -m pytest -q -rs {TESTS / file}.py -k '{name}'", project)
        assert "passed" in output and "skipped" not in output


def test_uv(bash, bake):
    project = bake()
    install = block_with(PROJECT / "docs" / "install.md", "uv venv")
    try:
        bash(install, project)
    except CommandFailed as error:  # of the index that the option stands for
        assert "Failed to fetch: https://download.pytorch.org" in str(error)
        shutil.rmtree(project / ".venv")
        bash(install.replace(" --torch-backend=auto", ""), project)
    output = bash("python -m pytest -q tests", project, venv=project)
    assert "passed" in output
    shutil.rmtree(project / ".venv")


def test_uv_with_a_lock_file(bash, bake, wheels):
    """The wheel's folder stands for the two indexes of PyTorch's builds."""
    project = bake()
    page = PROJECT / "docs" / "install.md"
    [pattern] = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    pattern, n = re.subn(r'url = ".*"', f'url = "{wheels.as_uri()}"\nformat = "flat"', pattern)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    only = f"python_version == '{version}' and sys_platform == '{sys.platform}'"  # as the wheel
    pattern += f'\n[tool.uv]\nenvironments = ["{only}"]\n'
    with (project / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n{pattern}")
    sync, run = (c for c in commands(page) if c in ("uv sync", "uv run train.py"))
    bash(sync, project, UV_PYTHON=version)
    output = bash(f"{run} trainer.epochs=1", project, UV_PYTHON=version)
    assert n == 2 and "epoch   1  loss" in output
    assert "index-url" not in output and (project / "uv.lock").exists()
    shutil.rmtree(project / ".venv")


@pytest.fixture
def hooks_of_ruff(tmp_path):
    """Settings of git in which a repository here stands for that of ruff's hooks."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    [repo] = config["repos"]
    hooks = [
        {"id": f"ruff-{name}", "name": name, "entry": f"ruff {name} --force-exclude"}
        | {"language": "python", "types_or": ["python", "pyi", "jupyter"]}
        for name in ("check", "format")
    ]
    mirror = tmp_path / "ruff-pre-commit"
    mirror.mkdir()
    (mirror / ".pre-commit-hooks.yaml").write_text(yaml.safe_dump(hooks), encoding="utf-8")
    about = f'name = "hooks"\nversion = "0"\ndependencies = ["ruff=={repo["rev"][1:]}"]\n'
    about = f"[project]\n{about}[tool.setuptools]\npackages = []\n"
    (mirror / "pyproject.toml").write_text(about, encoding="utf-8")
    settings = {f"url.{mirror.as_uri()}.insteadOf": repo["repo"]}
    settings |= {"user.name": "Ada", "user.email": "ada@example.org"}
    settings |= {"init.defaultBranch": "main", "advice.detachedHead": "false"}
    numbered = dict(enumerate(settings.items()))
    variables = {f"GIT_CONFIG_KEY_{n}": key for n, (key, _) in numbered.items()}
    variables |= {f"GIT_CONFIG_VALUE_{n}": value for n, (_, value) in numbered.items()}
    variables |= {"GIT_CONFIG_COUNT": str(len(settings))}
    commit = f"git init -q; git add .; git commit -qm hooks; git tag {repo['rev']}"
    environment = ENVIRONMENT | variables
    subprocess.run(["bash", "-e", "-c", commit], cwd=mirror, env=environment, check=True)
    return variables


@pytest.mark.parametrize("of_the_template", [True, False])
def test_pre_commit(of_the_template, bash, bake, template, folder, tmp_path, hooks_of_ruff):
    clone = tmp_path / "clone"
    project = shutil.copytree(template, clone) if of_the_template else bake(size="full")
    bash("python -m venv .venv && .venv/bin/pip install pre-commit", tmp_path)

    def type_in(script):
        return bash(script, project, venv=tmp_path, **hooks_of_ruff)

    assert "pre-commit installed" in type_in("git init -q; pre-commit install")
    type_in("git add --all; git commit -qm First")
    path = project / ("migrate.py" if of_the_template else "train.py")
    good = path.read_text(encoding="utf-8")
    path.write_text(f"{good}\n\n\nx  =  1\n", encoding="utf-8")
    with pytest.raises(CommandFailed, match=r"format\.+Failed"):
        type_in("git commit -qam Second")
    assert path.read_text(encoding="utf-8") == f"{good}\n\nx = 1\n"
    type_in("git commit -qam Second")


def test_the_dockerfile_without_docker(bash, bake, folder):
    """What its lines do in an image, done in a folder with a Python of its own."""
    project = bake(docker="yes")
    text = (project / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line.split(" ", 1) for line in text.splitlines() if line and line[0] != "#"]
    assert lines[0] == ["FROM", "python:3.12-slim"]
    root = folder / "container"
    root.mkdir()
    script = ["python -m venv .venv && . .venv/bin/activate"]
    for instruction, rest in lines[1:]:
        if instruction == "WORKDIR":
            script.append(f"mkdir .{rest} && cd .{rest}")
        elif instruction == "COPY":
            source, target = rest.split()
            script.append(f"cp -R {shlex.quote(str(project))}/{source} {target}")
        elif instruction == "CMD":
            script.append(shlex.join([*json.loads(rest), "trainer.epochs=1"]))
        else:
            assert instruction in ("ARG", "RUN"), instruction
            script.append(rest)
    output = bash("\n".join(script), root)
    assert "epoch   1  loss" in output
    assert len([*root.glob("project/saved/*/*/last.pth")]) == 1
    shutil.rmtree(root)


def test_docker(bash, bake):
    """As the page says, for a CPU; where there is Docker."""
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "info"], capture_output=True).returncode
    ):
        pytest.skip("Docker does not run here")
    project = bake(docker="yes")
    block = block_with(PROJECT / "docs" / "install.md", "docker build --tag trainer .\n")
    output = bash(block, project)
    assert "* best" in output and len([*project.glob("saved/*/*/report.html")]) == 1
