"""Whichever way a project is baked, it comes out the same, and files of the user survive."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from helpers import (
    ENVIRONMENT,
    PYTHONS,
    contents,
    files,
    interpreter,
    succeed,
    without_command,
)
from test_bake import STARTER_FILES

GIT = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org")


@pytest.fixture(scope="module")
def reference(bake):
    """What a project of the default answers consists of."""
    return contents(bake())


@pytest.fixture(scope="module")
def repository(template, tmp_path_factory):
    """The template in a git repository, as a host of templates has it."""
    copy = shutil.copytree(template, tmp_path_factory.mktemp("host") / "org" / "repo.git")
    git("init", "--quiet", cwd=copy)
    git("add", "--force", ".", cwd=copy)
    git("commit", "--quiet", "--message=First", cwd=copy)
    return copy


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def run(tmp_path, home):
    """Run a command in an empty folder by a user with an empty home."""
    (tmp_path / "cwd").mkdir()

    def run(*command, **environment):
        variables = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("COOKIECUTTER")}
        return subprocess.run(
            command,
            cwd=tmp_path / "cwd",
            env=variables | {"HOME": str(home), **environment},
            capture_output=True,
            encoding="utf-8",
        )

    run.cwd = tmp_path / "cwd"
    return run


def git(*arguments, cwd):
    subprocess.run([*GIT, *arguments], cwd=cwd, check=True)


def cookiecutter(*arguments):
    return (sys.executable, "-m", "cookiecutter", *map(str, arguments))


def check_project(done, cwd, reference):
    assert done.returncode == 0, done.stdout + done.stderr
    [project] = cwd.iterdir()
    assert project.name == "my-torch-project"
    assert without_command(contents(project)) == without_command(reference)


def test_a_path_with_odd_characters(run, template, tmp_path, reference):
    odd = shutil.copytree(template, tmp_path / "a template's {{ folder }} 한국어")
    check_project(run(*cookiecutter("--no-input", odd)), run.cwd, reference)


@pytest.mark.parametrize("name", ["deep/er", "with space", "{{ x }}", "한국어", "it's"])
def test_a_folder_to_write_to(name, run, template, reference):
    done = run(*cookiecutter("--no-input", "--output-dir", name, template))
    check_project(done, run.cwd / name, reference)


@pytest.mark.parametrize("tag", [None, "v1"])
def test_the_short_name_of_a_repository(tag, run, repository, reference):
    git("tag", "--force", "v1", cwd=repository)
    instead = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.parent.parent.as_uri()}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }
    options = ["--checkout", tag] if tag else []
    done = run(*cookiecutter("--no-input", *options, "gh:org/repo"), **instead)
    check_project(done, run.cwd, reference)


def test_a_zip_file(run, repository, tmp_path, reference):
    archive = tmp_path / "template.zip"
    git("archive", "--prefix=repo-main/", f"--output={archive}", "HEAD", cwd=repository)
    check_project(run(*cookiecutter("--no-input", archive)), run.cwd, reference)


@pytest.fixture(scope="module")
def uv_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("uv")


@pytest.mark.parametrize("version", PYTHONS)
def test_uvx(version, run, template, reference, uv_cache):
    """In an environment of its own, with each Python that a project can be baked and used with."""
    if not (found := interpreter(version)):
        pytest.skip(f"there is no Python {version} here")
    uvx = shutil.which("uvx", path=os.path.dirname(sys.executable)) or shutil.which("uvx")
    assert uvx, "uv is in requirements-dev.txt"
    uvx = [uvx, "--python", found, "cookiecutter>=2.7"]
    cache = {"UV_CACHE_DIR": str(uv_cache)}
    if (answer := run(*uvx, "--version", **cache)).returncode:
        pytest.skip(f"uv cannot get cookiecutter here: {answer.stderr}")
    assert f"(Python {version}." in answer.stdout
    check_project(run(*uvx, "--no-input", template, **cache), run.cwd, reference)


def test_no_git_on_the_machine(run, template, tmp_path, reference):
    done = run(*cookiecutter("--no-input", template), PATH=str(tmp_path))
    check_project(done, run.cwd, reference)


def test_defaults_of_the_user(run, template, tmp_path, bake):
    answers = {"project_name": "waves", "author": "Ada", "license": "Apache-2.0"}
    answers |= {"config_format": "yaml", "docker": "yes"}
    (tmp_path / "config.yaml").write_text(json.dumps({"default_context": answers}), "utf-8")
    done = run(*cookiecutter("--no-input", "--config-file", tmp_path / "config.yaml", template))
    assert done.returncode == 0, done.stderr
    assert contents(run.cwd / "waves") == contents(bake(**answers))


def test_a_choice_of_the_user_that_there_is_not(run, template, tmp_path, reference):
    (tmp_path / "config.yaml").write_text('{"default_context": {"license": "GPL"}}', "utf-8")
    done = run(*cookiecutter("--no-input", "--config-file", tmp_path / "config.yaml", template))
    check_project(done, run.cwd, reference)
    assert "Invalid default received: GPL provided for choice variable license" in done.stderr


def test_the_answers_of_the_last_time(run, template, reference):
    for _ in range(2):
        done = run(*cookiecutter("--no-input", template, "author=Ada Lovelace"))
        assert done.returncode == 0
        first = contents(run.cwd / "my-torch-project")
        shutil.rmtree(run.cwd / "my-torch-project")
        assert b"Ada Lovelace" in first["LICENSE"]
        check_project(run(*cookiecutter("--replay", template)), run.cwd, first)
        shutil.rmtree(run.cwd / "my-torch-project")


def test_a_used_working_copy(run, template, tmp_path, reference):
    """What runs in the template's own folder have left does not get into projects."""
    used = shutil.copytree(template, tmp_path / "used")
    [inner] = used.glob("{{*")
    left = {
        "saved/Mnist_LeNet/1/train.log": b"epoch 1",
        "saved/Mnist_LeNet/1/last.pth": b"\x8a {{",
        "saved/Mnist_LeNet/1/black_box_step1.pt": b"\x8a {{",
        "saved/Mnist_LeNet/1/events.out.tfevents.1.x": b"\x8a {{",
        "data/MNIST/raw/x-ubyte": b"\0\0\x08\x03",
        "data/more.npz": b"PK\x03\x04\0",
        "base/__pycache__/a.pyc": b"\x8a {{",
        "tests/.pytest_cache/v/cache/lastfailed": b"{{",
    }
    for name, content in left.items():
        (inner / name).parent.mkdir(parents=True, exist_ok=True)
        (inner / name).write_bytes(content)
    succeed("-m", "ruff", "check", cwd=inner)  # its cache is neither text nor quite binary
    succeed("-m", "compileall", "-q", ".", cwd=inner)
    assert {".ruff_cache", "__pycache__"} <= {path.name for path in inner.iterdir()}
    check_project(run(*cookiecutter("--no-input", used)), run.cwd, reference)
    project = run.cwd / "my-torch-project"
    mine = {"saved/Mnist_LeNet/2/last.pth", "base/__pycache__/b.pyc", ".ruff_cache/mine"}
    for name in mine:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(b"mine")
    (tmp_path / "elsewhere").mkdir()
    (project / "venv" / "empty").mkdir(parents=True)
    for link in (project / "saved" / "other", project / "venv" / "lib64"):
        link.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    for option in (["--skip-if-file-exists"], []):  # as where a project gets the full size
        done = run(*cookiecutter("--no-input", "--overwrite-if-exists", *option, used))
        assert done.returncode == 0, done.stdout + done.stderr
        assert files(project) - {"data/MNIST/raw/x-ubyte", "data/more.npz"} == {*reference, *mine}
        assert all((project / name).read_bytes() == b"mine" for name in mine)
        assert (project / "saved" / "other").is_dir() and (project / "venv" / "lib64").is_dir()
        assert (project / "venv" / "empty").is_dir()


def test_nothing_is_left_in_the_home(run, template, home, tmp_path, reference):
    """By cookiecutter itself, what it needs for --replay; with settings of one's own, nothing."""
    settings = {"replay_dir": str(tmp_path / "x"), "cookiecutters_dir": str(tmp_path / "y")}
    (tmp_path / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    done = run(*cookiecutter("--no-input", "--config-file", tmp_path / "config.yaml", template))
    check_project(done, run.cwd, reference)
    assert not files(home)
    run(*cookiecutter("--no-input", "--overwrite-if-exists", template))
    assert files(home) == {".cookiecutter_replay/template.json"}


def the_users(reference, folder):
    """A folder with a file of the user's for each of the template, and some more."""
    more = ["saved/run/last.pth", ".git/HEAD", "config.yaml", "Dockerfile", "LICENSE.MIT", "new.py"]
    more += [".github/workflows/mine.yml", "base/__pycache__/mine.pyc"]
    for name in [*reference, *more]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"mine")
    return contents(folder)


def test_an_existing_folder_is_refused(run, template, reference):
    before = the_users(reference, run.cwd / "my-torch-project")
    done = run(*cookiecutter("--no-input", template))
    assert done.returncode == 1
    assert done.stdout == 'Error: "my-torch-project" directory already exists\n'
    assert contents(run.cwd / "my-torch-project") == before


CHOICES = ["license=none", "config_format=json", "tensorboard=no", "github_actions=no"]
CONTAINER = {".dockerignore", ".devcontainer/devcontainer.json"}  # the user has a Dockerfile


@pytest.mark.parametrize(
    ("choices", "new"),
    [
        ([], set()),
        (CHOICES, set()),
        (["docker=yes", "config_format=yaml"], CONTAINER | {"utils/yaml_config.py"}),
        (["starter=minimal"], {"data/penguins.npz"}),
        (["starter=gan"], {"trainer/gan_trainer.py", "tools/several_optimizers.py"}),
    ],
)
def test_skipping_keeps_all_files_of_the_user(choices, new, run, template, reference):
    before = the_users(reference, run.cwd / "my-torch-project")
    for missing in ("train.py", "docs/config.md"):
        (run.cwd / "my-torch-project" / missing).unlink()
    done = run(*cookiecutter("--no-input", "-f", "-s", template, *choices))
    assert done.returncode == 0, done.stdout + done.stderr
    after = contents(run.cwd / "my-torch-project")
    assert after.pop("train.py") == reference["train.py"]
    assert after.pop("docs/config.md") == reference["docs/config.md"]
    assert all(after.pop(name) for name in new)
    assert after == {name: before[name] for name in after} and len(after) == len(before) - 2


def test_overwriting_replaces_the_files_of_the_template_alone(run, template, reference):
    before = the_users(reference, run.cwd / "my-torch-project")
    done = run(*cookiecutter("--no-input", "-f", template))
    assert done.returncode == 0, done.stdout + done.stderr
    after = contents(run.cwd / "my-torch-project")
    assert reference.items() <= after.items()
    others = {name for name in after if name not in reference}
    assert {"saved/run/last.pth", ".git/HEAD", "new.py", ".github/workflows/mine.yml"} <= others
    assert all(after[name] == before[name] for name in others)


def check_refusal(done, target, expected):
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == f"{target} {expected}\n" and not done.stderr


def test_a_folder_that_cannot_be_written_to(run, template):
    target = run.cwd / "target"
    target.mkdir()
    target.chmod(0o555)
    command = cookiecutter("--no-input", "--output-dir", target / "sub", template)
    if os.geteuid() == 0:  # whom permissions stop only without this capability
        command = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", *command)
    check_refusal(run(*command), target, "cannot be written to")
    assert list(run.cwd.iterdir()) == [target] and not any(target.iterdir())


def test_a_file_where_a_folder_should_be(run, template):
    target = run.cwd / "my-torch-project"
    target.write_text("mine", encoding="utf-8")
    check_refusal(
        run(*cookiecutter("--no-input", "-f", template)),
        target,
        "is there already, and is not a folder",
    )
    inside = cookiecutter("--no-input", "--output-dir", target, template)
    check_refusal(run(*inside), target, "is there already, and is not a folder")
    assert contents(run.cwd) == {"my-torch-project": b"mine"}


def test_a_link_to_nowhere(run, template):
    target = run.cwd / "my-torch-project"
    target.symlink_to("nowhere")
    done = run(*cookiecutter("--no-input", template))
    check_refusal(done, target, "is there already, and is not a folder")
    assert list(run.cwd.iterdir()) == [target] and target.is_symlink()


@pytest.fixture(params=STARTER_FILES)
def starter(request):
    return request.param


@pytest.fixture
def without_hooks(run, template, starter):
    command = cookiecutter("--no-input", "--accept-hooks=no", template, f"starter={starter}")
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return run.cwd / "my-torch-project"


def test_without_hooks_the_files_of_all_choices_are_there(without_hooks, reference):
    everything = contents(without_hooks)
    note = everything.pop("NOT_CHOSEN.md").decode()
    license_text = everything.pop("LICENSE.MIT")
    everything = without_command(everything | {"LICENSE": license_text})
    assert without_command(reference).items() <= everything.items()
    for name in everything.keys() - reference.keys():
        assert name in note or f"{name.split('/')[0]}/" in note, f"{name} is not explained"


def test_what_the_note_says_gives_the_project_that_was_chosen(without_hooks, starter, bake):
    """By hand as by the hooks; before that, README.md speaks of mnist, whose code lies there."""
    note = without_hooks / "NOT_CHOSEN.md"
    script = "\n".join(re.findall(r"  ```\n(.*?)  ```", note.read_text("utf-8"), re.DOTALL))
    assert ("cp " in script) is (starter != "mnist")
    subprocess.run(["bash", "-e", "-c", script], cwd=without_hooks, check=True)
    chosen = contents(bake(starter=starter))
    [data_file] = {name for name in chosen if name.startswith("data/")}
    ignored = (without_hooks / ".gitignore").read_text(encoding="utf-8")
    changed = ignored.replace("data/mnist_5k.npz", data_file)
    (without_hooks / ".gitignore").write_text(changed, encoding="utf-8")
    assert (".gitignore" in note.read_text("utf-8")) is (changed != ignored)
    found = contents(without_hooks)
    found["LICENSE"] = found["LICENSE.MIT"]
    assert without_command(chosen).items() <= without_command(found).items()
    others = {"config.yaml", "Dockerfile", ".dockerignore", ".devcontainer/devcontainer.json"}
    left = {name for name in found.keys() - chosen.keys() if not name.startswith("LICENSE.")}
    if starter == "mnist":
        left = {name for name in left if not name.startswith("starters/")}
    assert left == others | {"NOT_CHOSEN.md", ".is_written"}


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["mnist"], indirect=True)
def test_without_hooks_it_works(without_hooks):
    succeed("-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=without_hooks)
    succeed("train.py", "trainer.epochs=1", cwd=without_hooks)
    [best] = without_hooks.glob("saved/*/*/model_best.pth")
    assert "accuracy" in succeed("test.py", "-r", best, cwd=without_hooks)
