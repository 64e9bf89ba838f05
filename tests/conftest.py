import json
import os
import shutil
import signal
from hashlib import sha256

import pytest

from helpers import ROOT, TIME_LIMIT, once, python, succeed, time_limit

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
LEFTOVERS = (".git", ".venv", "build", "saved", "__pycache__", ".*_cache")


@pytest.fixture(autouse=True)
def _time_limit():
    with time_limit(TIME_LIMIT):
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all workers of a run have."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"


@pytest.fixture(scope="session")
def template(shared):
    """The template as a clean clone has it, without what runs leave in a working copy.

    All workers have the same one, as a README has its path.
    """

    def make(folder):
        shutil.copytree(ROOT, folder / "template", ignore=shutil.ignore_patterns(*LEFTOVERS))

    return once(shared / "clone", make) / "template"


@pytest.fixture(scope="session")
def cookiecutter(template, tmp_path_factory):
    """Run the command `cookiecutter` in a folder, away from the user's own settings."""
    home = tmp_path_factory.mktemp("home")
    settings = {"cookiecutters_dir": str(home / "cache"), "replay_dir": str(home / "replay")}
    (home / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")

    def run(*arguments, cwd, **options):
        command = ("-m", "cookiecutter", "--config-file", home / "config.yaml", template)
        return python(*command, *arguments, cwd=cwd, **options)

    return run


@pytest.fixture(scope="session")
def bake(cookiecutter, shared, tmp_path_factory):
    """Bake with some answers, the defaults for the others; the folder of the new project.

    The same answers are baked once: later projects are copies.
    """

    def bake(**answers):
        def make(folder):
            done = cookiecutter("--no-input", *given, cwd=folder)
            assert done.returncode == 0, done.stdout + done.stderr

        given = [f"{key}={value}" for key, value in sorted(answers.items())]
        [baked] = once(shared / sha256(json.dumps(given).encode()).hexdigest(), make).iterdir()
        return shutil.copytree(baked, tmp_path_factory.mktemp("baked") / baked.name)

    return bake


@pytest.fixture(scope="session")
def train(bake, shared, tmp_path_factory):
    """The full project of a starter after a run with the defaults, which is made once, as bakes."""

    def train(starter):
        def make(folder):
            project = shutil.copytree(bake(starter=starter, size="full"), folder / "project")
            succeed("train.py", "-c", "config.json", cwd=project)

        trained = once(shared / f"trained_{starter}", make) / "project"
        return shutil.copytree(trained, tmp_path_factory.mktemp("trained") / "project")

    return train
