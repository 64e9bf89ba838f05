"""A project takes later versions of the template, through the real cruft and real repositories."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ENVIRONMENT, PROJECT, ROOT, files, succeed
from test_commands import blocks

ANSWERS = {
    "project_name": "waves",
    "size": "full",
    "description": 'Says "{{ hi }}" \\ 한국어',
    "author": "Ada",
}
TRAINER = "trainer/trainer.py"
LOSS = "model/loss.py"
PROGRAM = f"PATH={Path(sys.executable).parent}:$PATH\npip() {{ :; }}\n"  # all is installed


@pytest.fixture
def run(tmp_path):
    """Run a command as a user with a home and a name of their own."""
    home = tmp_path / "home"
    home.mkdir()
    name = "[user]\nname = Ada\nemail = ada@example.org\n"
    (home / ".gitconfig").write_text(name, encoding="utf-8")

    def run(*command, cwd, status=0, text="\n"):
        environment = ENVIRONMENT | {"HOME": str(home), "COLUMNS": "200"}
        done = subprocess.run(
            command, cwd=cwd, env=environment, input=text, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def commit(run):
    def commit(folder, *tag):
        run("git", "init", "--quiet", cwd=folder)
        run("git", "add", *["--force"] * len(tag), ".", cwd=folder)
        run("git", "commit", "--quiet", "--allow-empty", "--message", "x", cwd=folder)
        if tag:
            run("git", "tag", *tag, cwd=folder)

    return commit


@pytest.fixture
def repository(template, tmp_path, commit):
    """The template at its first version."""
    copy = shutil.copytree(template, tmp_path / "host" / "template")
    commit(copy, "v1.0.0")
    return copy


@pytest.fixture
def cruft(run):
    def cruft(*arguments, **options):
        return run(sys.executable, "-m", "cruft", *map(str, arguments), **options)

    return cruft


@pytest.fixture
def project(repository, cruft, commit, tmp_path):
    """A project of the first version, under version control."""
    context = ("--extra-context", json.dumps(ANSWERS))
    cruft("create", repository, "--no-input", *context, cwd=tmp_path)
    assert not (tmp_path / "waves" / ".git").exists(), "a hook that commits breaks cruft"
    commit(tmp_path / "waves")
    return tmp_path / "waves"


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path}: {old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def release_second_version(repository, commit):
    """Change what a version can change: files come, go and change, a prompt, the extension."""
    [inner] = repository.glob("{{*")
    tone = '  "tone": ["calm", "loud"],\n  "_extensions":'
    edit(repository / "cookiecutter.json", '  "_extensions":', tone)
    extension = repository / "local_extensions.py"
    edit(extension, 'filters["escaped"] = escaped', 'filters["quoted"] = escaped')
    edit(inner / "pyproject.toml", "description | escaped", "description | quoted")
    edit(inner / "pyproject.toml", "author | escaped", "author | quoted")
    (inner / "new.md").write_text("{{ cookiecutter.tone }}\n", encoding="utf-8")
    (inner / "docs" / "speed.md").unlink()
    append(inner / TRAINER, "# of the second version\n")
    append(inner / LOSS, "# of the second version\n")
    append(inner / "README.md", "Of the second version\n")
    commit(repository, "v2.0.0")


def append(path, text):
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def prepend(path, text):
    path.write_text(text + path.read_text(encoding="utf-8"), encoding="utf-8")


def test_create_check_and_diff(project, cruft, bake, repository, commit):
    same = bake(**ANSWERS)
    assert files(project) - {".cruft.json"} == files(same) | {
        name for name in files(project) if name.startswith(".git/")
    }
    # Its README has the command of cruft that adds the files of a full project
    as_baked = files(same) - {"README.md"}
    assert all((project / name).read_bytes() == (same / name).read_bytes() for name in as_baked)

    assert "up to date" in cruft("check", cwd=project)
    assert cruft("diff", "--exit-code", cwd=project) == ""
    append(project / LOSS, "# mine\n")
    difference = cruft("diff", "--exit-code", cwd=project, status=1)
    assert difference.startswith("diff --git") and "-# mine\n" in difference

    release_second_version(repository, commit)
    assert "out of date" in cruft("check", cwd=project, status=1)
    assert "up to date" in cruft("check", "--checkout", "v1.0.0", cwd=project)


def test_update_of_a_changed_project(project, repository, cruft, commit, run):
    prepend(project / TRAINER, "# mine\n")
    (project / "model" / "unet.py").write_text("# mine\n", encoding="utf-8")
    (project / "saved" / "run").mkdir(parents=True)
    (project / "saved" / "run" / "last.pth").write_bytes(b"mine")
    (project / "docs" / "faults.md").unlink()
    commit(project)
    release_second_version(repository, commit)

    cruft("update", "--skip-apply-ask", cwd=project)

    trainer = (project / TRAINER).read_text(encoding="utf-8")
    assert trainer.startswith("# mine\n") and trainer.endswith("# of the second version\n")
    assert (project / "model" / "unet.py").read_text(encoding="utf-8") == "# mine\n"
    assert (project / "saved" / "run" / "last.pth").read_bytes() == b"mine"
    assert (project / "new.md").read_text(encoding="utf-8") == "calm\n"
    assert not (project / "docs" / "speed.md").exists(), "the template has it no more"
    assert not (project / "docs" / "faults.md").exists(), "the user did away with it"
    assert ANSWERS["description"] in (project / "README.md").read_text(encoding="utf-8")
    assert "up to date" in cruft("check", cwd=project)
    assert "UU" not in run("git", "status", "--porcelain", cwd=project)

    commit(project)
    assert "Nothing to do" in cruft("update", "--skip-apply-ask", cwd=project)


def test_a_conflict_is_for_the_user_to_solve(project, repository, cruft, commit, run):
    append(project / TRAINER, "# mine\n")
    commit(project)
    release_second_version(repository, commit)

    assert "conflicts" in cruft("update", "--skip-apply-ask", cwd=project)

    trainer = (project / TRAINER).read_text(encoding="utf-8")
    assert "<<<<<<< ours\n# mine\n=======\n# of the second version\n>>>>>>> theirs\n" in trainer
    assert f"UU {TRAINER}" in run("git", "status", "--porcelain", cwd=project)
    loss = (project / LOSS).read_text(encoding="utf-8")
    assert loss.endswith("# of the second version\n"), "the other changes have come"

    edit(project / TRAINER, "<<<<<<< ours\n", "")
    edit(project / TRAINER, "=======\n", "")
    edit(project / TRAINER, ">>>>>>> theirs\n", "")
    commit(project)
    assert "up to date" in cruft("check", cwd=project)


def test_a_conflict_without_the_first_commit(repository, cruft, commit, tmp_path):
    """As docs/updating.md warns: git does not know what both sides started from."""
    cruft("create", repository, "--no-input", cwd=tmp_path)
    project = tmp_path / "my-torch-project"
    append(project / TRAINER, "# mine\n")
    commit(project)
    release_second_version(repository, commit)
    assert "*.rej files" in cruft("update", "--skip-apply-ask", cwd=project)
    assert (project / TRAINER).read_text(encoding="utf-8").endswith("# mine\n")
    assert "+# of the second version" in (project / f"{TRAINER}.rej").read_text(encoding="utf-8")
    assert (project / LOSS).read_text(encoding="utf-8").endswith("# of the second version\n")


def test_work_that_is_not_committed_is_not_touched(project, repository, cruft, commit):
    append(project / TRAINER, "# mine\n")
    before = {name: (project / name).read_bytes() for name in files(project)}
    release_second_version(repository, commit)
    assert "unclean" in cruft("update", "--skip-apply-ask", cwd=project, status=1)
    assert {name: (project / name).read_bytes() for name in before} == before


def test_what_is_all_the_users_can_be_left_out(project, repository, cruft, commit):
    append(project / "pyproject.toml", '\n[tool.cruft]\nskip = ["model", "README.md"]\n')
    commit(project)
    release_second_version(repository, commit)
    cruft("update", "--skip-apply-ask", cwd=project)
    for name in (LOSS, "README.md"):
        assert "second version" not in (project / name).read_text(encoding="utf-8")
    assert "second version" in (project / TRAINER).read_text(encoding="utf-8")


def test_a_project_without_cruft_joins_later(repository, bake, cruft, commit):
    project = bake(**ANSWERS)
    commit(project)
    release_second_version(repository, commit)
    context = ("--extra-context", json.dumps(ANSWERS))
    options = ("--no-input", "--checkout", "v1.0.0", *context)
    cruft("link", repository, *options, cwd=project)
    commit(project)
    difference = cruft("diff", "--exit-code", cwd=project, status=1)
    changed = [line for line in difference.splitlines() if line[0] in "+-"]
    assert len(changed) == 4 and "-cookiecutter " in difference  # the command in the README
    cruft("update", "--skip-apply-ask", cwd=project)
    assert "second version" in (project / TRAINER).read_text(encoding="utf-8")


def test_an_essential_project_becomes_a_full_one(repository, cruft, commit, run, bake, tmp_path):
    """By the command in its README, once the user has edited it."""
    context = ("--extra-context", json.dumps(ANSWERS | {"size": "essential"}))
    cruft("create", repository, "--no-input", *context, cwd=tmp_path)
    by_cruft, by_cookiecutter = tmp_path / "waves", bake(**ANSWERS | {"size": "essential"})
    for project in (by_cruft, by_cookiecutter):
        prepend(project / TRAINER, "# mine\n")
        (project / "model" / "unet.py").write_text("# mine\n", encoding="utf-8")
        (project / LOSS).write_text("# all mine\n", encoding="utf-8")
        commit(project)
        before = {name: (project / name).read_bytes() for name in files(project)}
        [command] = [one for one in blocks(project / "README.md") if "full" in one]
        run("bash", "-e", "-c", PROGRAM + command, cwd=project)
        kept = {name for name in before if not name.startswith(".git/") and name != ".cruft.json"}
        assert all((project / name).read_bytes() == before[name] for name in kept)
        added = files(bake(**ANSWERS)) - before.keys()
        assert "report.py" in added and added <= files(project)


def test_the_commands_of_the_docs(project, repository, commit, run):
    update, link = blocks(PROJECT / "docs" / "updating.md")
    assert [line.split("  ")[0] for line in update.splitlines()] == [
        "pip install cruft",
        "cruft check",
        "cruft update -y",
        "cruft diff",
    ]
    release_second_version(repository, commit)
    output = run("bash", "-c", PROGRAM + update, cwd=project)
    assert "out of date" in output and "has been updated" in output, output[-4000:]
    assert "second version" in (project / TRAINER).read_text(encoding="utf-8")

    (project / ".cruft.json").unlink()
    link = link.replace("https://github.com/org/repo", str(repository)).replace("COMMIT", "v1.0.0")
    run("bash", "-c", PROGRAM + link, cwd=project, text="\n" * 20)
    [first] = run("git", "rev-parse", "v1.0.0", cwd=repository).splitlines()
    linked = json.loads((project / ".cruft.json").read_text(encoding="utf-8"))
    assert linked["commit"] == first and linked["context"]["cookiecutter"]["license"] == "MIT"


def test_the_commands_of_the_readme(repository, run, tmp_path):
    """`cruft create` in place of `cookiecutter`; then there is nothing to merge."""
    readme = ROOT / "README.md"
    assert all(f"`{c}" in readme.read_text("utf-8") for c in ("cruft create", "cruft update -y"))
    [block] = [block for block in blocks(readme) if "\ncookiecutter path" in block]
    block = block.replace("path/or/url/of/this/repo", str(repository))
    block = block.replace("\ncookiecutter", "\ncruft create")
    block += "cd my-torch-project\ncruft check\ncruft update -y\n"
    output = run("bash", "-e", "-c", PROGRAM + block, cwd=tmp_path, text="\n" * 20)
    assert "up to date" in output and "Nothing to do" in output
    assert (tmp_path / "my-torch-project" / ".cruft.json").exists()


def test_a_bad_name_is_refused(repository, cruft, tmp_path):
    before = files(tmp_path)
    context = ("--extra-context", '{"project_name": "torch"}')
    output = cruft("create", repository, "--no-input", *context, cwd=tmp_path, status=1)
    assert "FailedHookException: Project name 'torch' is the name of a package" in output
    assert files(tmp_path) == before


@pytest.mark.slow
def test_an_updated_project_works(project, repository, cruft, commit):
    release_second_version(repository, commit)
    cruft("update", "--skip-apply-ask", cwd=project)
    assert "All is well." in succeed("train.py", "--check", cwd=project)
