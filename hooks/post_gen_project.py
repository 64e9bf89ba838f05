"""Runs in the new project: keeps the files that were chosen and says what to do next.

Cookiecutter fills in the answers below. Standard library only, no network.
"""

import json
import shutil
from pathlib import Path

NAME = "{{ cookiecutter.project_name }}"
STARTER = "{{ cookiecutter.starter }}"
SIZE = "{{ cookiecutter.size }}"
LICENSE = "{{ cookiecutter.license }}"
CONFIG = "config.{{ cookiecutter.config_format }}"
TENSORBOARD = "{{ cookiecutter.tensorboard }}"
GITHUB_ACTIONS = "{{ cookiecutter.github_actions }}"
DOCKER = "{{ cookiecutter.docker }}"
BY_CRUFT = "{{ '_output_dir' not in cookiecutter }}" == "True"

BEFORE = Path(".files_before.json")  # pre_gen_project.py wrote it, if there was anything before
IS_WRITTEN = Path(".is_written")
IS_NEW = not BEFORE.exists()
SKIPS = not IS_WRITTEN.read_bytes()  # cookiecutter was told --skip-if-file-exists
WERE_THERE = set() if IS_NEW else set(json.loads(BEFORE.read_text(encoding="utf-8")))
KEPT = WERE_THERE if SKIPS else set()

STARTERS = ("mnist", "minimal", "text", "tabular", "gan")
# What runs leave; the .gitignore of a folder that was there may be the user's
LEFTOVERS = ["saved", "__pycache__", ".*_cache", ".ipynb_checkpoints", ".venv", "venv"]
# What only a full project has, and what of it any project has
EXTRAS = ["tools/*", "docs/**/*", "notebooks/*", "export.py", "report.py", "sweep.py"]
EXTRAS += [".editorconfig", ".pre-commit-config.yaml"]
ESSENTIAL = ["tools/__init__.py", "tools/arguments.py", "tools/check.py"]
ESSENTIAL += ["tools/several_optimizers.py"] * (STARTER == "gan")
ESSENTIAL += ["docs/config.md", "docs/data.md", "docs/model.md", "docs/runs.md"]
# What belongs to the starter "mnist" alone, and what "gan" has too
MNIST = ["notebooks/first_steps.ipynb"]
DIGITS = ["data/mnist_5k.npz"]


def main():
    choose_starter()
    if SIZE == "essential":
        extras = {p.as_posix() for one in EXTRAS for p in Path().glob(one) if p.is_file()}
        for name in extras.difference(ESSENTIAL):
            remove(name)
        if CONFIG == "config.json":
            remove("utils/yaml_config.py")
    if LICENSE != "none":
        move(f"LICENSE.{LICENSE}", "LICENSE")
    for name in ("MIT", "BSD-3-Clause", "Apache-2.0"):
        remove(f"LICENSE.{name}")
    remove("config.yaml" if CONFIG == "config.json" else "config.json")
    if TENSORBOARD == "no":
        quote = '"' if CONFIG == "config.json" else ""
        edit(CONFIG, f"{quote}tensorboard{quote}: true", f"{quote}tensorboard{quote}: false")
        edit("requirements.txt", "tensorboard\n", "")
        edit("pyproject.toml", '    "tensorboard",\n', "")
    if GITHUB_ACTIONS == "no" or SIZE == "essential":
        remove(".github/workflows/tests.yml")
    if DOCKER == "no":
        for name in ("Dockerfile", ".dockerignore", ".devcontainer/devcontainer.json"):
            remove(name)
    drop_leftovers()
    remove("NOT_CHOSEN.md")  # for where hooks do not run
    IS_WRITTEN.unlink()
    BEFORE.unlink(missing_ok=True)
    if not BY_CRUFT:  # which bakes in passing, for `cruft diff` for example
        print(f"""
Your project is in {NAME}. Next:
  cd {NAME}
  pip install -r requirements.txt
  python train.py -c {CONFIG}
  python test.py -r best""")


def choose_starter():
    """Put the files of a starter in the place of those of mnist, which are there already."""
    if STARTER != "mnist":
        for name in MNIST + DIGITS * (STARTER != "gan"):
            remove(name)
        folder = Path("starters", STARTER)
        for path in [one for one in folder.rglob("*") if one.is_file() and one.name != "about.md"]:
            target = path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            move(path, target.as_posix())
            if target.parent.name == "data":
                edit(".gitignore", "!data/mnist_5k.npz", f"!{target.as_posix()}")
    move("starters/README.md", "README.md")
    for name in STARTERS:
        shutil.rmtree(Path("starters", name))
    if not any(name.startswith("starters/") for name in KEPT):
        shutil.rmtree("starters")


def move(source, target):
    """Give a file its name, unless the user has a file of that name to keep."""
    if target not in KEPT:
        Path(source).replace(target)


def remove(name):
    """Remove a file, and the folders that are then empty, unless the user is to keep it."""
    path = Path(name)
    if name not in KEPT and path.exists():
        path.unlink()
        while not any(path.parent.iterdir()):
            path = path.parent
            path.rmdir()


def edit(name, old, new):
    """Replace what stands in a file once, unless the user is to keep the file."""
    if name not in KEPT:
        text = Path(name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
        Path(name).write_bytes(text.replace(old, new).encode())


def drop_leftovers():
    """Remove what runs in a working copy of the template leave there: all that .gitignore names.

    What was there before is the user's, and stays.
    """
    lines = Path(".gitignore").read_text(encoding="utf-8").splitlines() if IS_NEW else LEFTOVERS
    wanted = WERE_THERE.union(line[1:] for line in lines if line.startswith("!"))
    for line in lines:
        if line and line[0] not in "#!":
            pattern = line.strip("/")
            for path in list(Path().glob(pattern if "/" in pattern else f"**/{pattern}")):
                drop(path, wanted)


def drop(path, wanted):
    """Remove what is not wanted: a file or a link, a folder where nothing stays in it."""
    is_wanted = path.as_posix() in wanted
    if path.is_dir() and not path.is_symlink():
        for inner in list(path.iterdir()):
            drop(inner, wanted)
        if not (is_wanted or any(path.iterdir())):
            path.rmdir()
    elif not is_wanted:
        path.unlink(missing_ok=True)


main()
