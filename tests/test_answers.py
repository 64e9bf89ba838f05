"""Bad names are refused before anything is on disk; any other text is taken as it is."""

import re

import pytest
from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment

import local_extensions
from helpers import PROJECT, files, tomllib

REFUSED = {
    "": "is empty",
    "my project": "contains ' '",
    "a\nb": r"contains '\n'",
    "a/b": "contains '/'",
    "../up": "contains '/'",
    "a\\b": r"contains '\\'",
    "C:x": "contains ':'",
    'a"b': "contains '\"'",
    "a'b": 'contains "\'"',
    "projét": "contains 'é'",
    "프로젝트": "contains '프'",
    ".": "does not start and end",
    "..": "does not start and end",
    ".hidden": "does not start and end",
    "-flag": "does not start and end",
    "name.": "does not start and end",
    "name-": "does not start and end",
    "x" * 300: "is longer than 100",
    "con": "is reserved on Windows",
    "NUL.txt": "is reserved on Windows",
    "torch": "is the name of a package",
    "NumPy": "is the name of a package",
    "model": "is the name of a part",
    "data-loader": "is the name of a part",
}
ACCEPTED = ["x", "2nd", "my-project", "my_project", "v1.2", "Console", "torch-models", "x" * 100]
TEXTS = [
    "",
    'say "hi"',
    "it's",
    "'''",
    '"""',
    "back\\slash \\n \\",
    "two\nlines\n",
    "tab\t and bell \x07",
    "breaks \x7f\x85\u2028\u2029\ufeff",
    "# no comment",
    "emoji 📈🔥",
    "한국어",
    "مرحبا \u202eright to left",
]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, cookiecutter, tmp_path):
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    done = cookiecutter("--no-input", f"project_name={name}", cwd=cwd)
    assert done.returncode == 1
    assert done.stderr == ""
    [line] = done.stdout.splitlines()
    assert line.startswith(f"Project name {name!r} {REFUSED[name]}")
    assert list(tmp_path.rglob("*")) == [cwd]

    suggestion = re.search(r" Try '([^']+)'\.$", line)[1]
    assert cookiecutter("--no-input", f"project_name={suggestion}", cwd=cwd).returncode == 0


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name, bake):
    project = bake(project_name=name)
    assert project.name == name
    assert read_pyproject(project)["name"] == name


def test_names_of_all_parts_and_requirements_are_refused():
    parts = {p.stem for p in PROJECT.iterdir() if p.suffix == ".py" or p.is_dir()}
    lines = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {name for name in parts if name[0].isalpha()} | {re.split(r"\W", x)[0] for x in lines}
    assert {"base", "train", "torch", "pyyaml"} <= names
    check = Environment(extensions=[local_extensions.checked_name])
    for name in names:
        with pytest.raises(FailedHookException):
            check.from_string("{{ name | checked_name }}").render(name=name)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_taken_as_it_is(text, bake):
    project = bake(description=text, author=text)
    assert read_pyproject(project)["description"] == text
    assert read_pyproject(project)["authors"] == [{"name": text}]
    assert text in (project / "LICENSE").read_text(encoding="utf-8")


def test_prompts_take_jinja_as_text(cookiecutter, tmp_path):
    text = "{{ 1 + 1 }} {% raw %} {# no comment"
    answers = ["asked", text, "Ada", "1", "2", "2", "2", ""]
    done = cookiecutter(cwd=tmp_path, input="\n".join(answers))
    assert done.returncode == 0, done.stderr
    assert "Format of the config file" in done.stdout
    assert read_pyproject(tmp_path / "asked")["description"] == text
    assert "config.yaml" in files(tmp_path / "asked")


def test_prompts_refuse_a_bad_name_at_once(cookiecutter, tmp_path):
    done = cookiecutter(cwd=tmp_path, input="{{ 1 }}\n")
    assert done.returncode == 1
    assert done.stdout.endswith("Try '1'.\n")
    assert not any(tmp_path.iterdir())


def read_pyproject(project):
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
