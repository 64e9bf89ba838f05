"""Bad answers are refused before anything is on disk; any other text is taken as it is."""

import json
import logging
import re

import pytest
import yaml
from click.testing import CliRunner
from cookiecutter.cli import main
from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment

import local_extensions
from helpers import PROJECT, contents, files, tomllib, without_command

REFUSED_NAMES = {
    "": "is empty",
    " ": "contains ' '",
    "my project": "contains ' '",
    "name ": "contains ' '",
    "a\nb": r"contains '\n'",
    "a\tb": r"contains '\t'",
    "a/b": "contains '/'",
    "../up": "contains '/'",
    "/abs": "contains '/'",
    "a\\b": r"contains '\\'",
    "C:x": "contains ':'",
    "~": "contains '~'",
    "$HOME": "contains '$'",
    "a*": "contains '*'",
    "a;rm -rf": "contains ';'",
    'a"b': "contains '\"'",
    "a'b": 'contains "\'"',
    "{{ 1 }}": "contains '{'",
    "{% raw": "contains '{'",
    "{{ cookiecutter": "contains '{'",
    "projét": "contains 'é'",
    "프로젝트": "contains '프'",
    "مشروع": "contains 'م'",
    "net\u200b": r"contains '\u200b'",
    "т\u043erch": "contains 'т'",
    ".": "does not start and end",
    "..": "does not start and end",
    ".hidden": "does not start and end",
    "-flag": "does not start and end",
    "_private": "does not start and end",
    "name.": "does not start and end",
    "name-": "does not start and end",
    "x" * 101: "is longer than 100",
    "x" * 300: "is longer than 100",
    "con": "is reserved on Windows",
    "NUL.txt": "is reserved on Windows",
    "Com7": "is reserved on Windows",
    "torch": "is the name of a package",
    "NumPy": "is the name of a package",
    "model": "is the name of a part",
    "data-loader": "is the name of a part",
    "saved": "is the name of a part",
}
ACCEPTED_NAMES = ["x", "2nd", "my-project", "my_project", "v1.2", "Console", "torch-models"]
ACCEPTED_NAMES += ["import", "None", "random", "json", "site-packages", "x" * 100]
TEXTS = [
    "",
    "null",
    "123",
    'say "hi"',
    "it's",
    "'''",
    '"""',
    "back\\slash \\n \\",
    "two\nlines\n",
    "two\r\nlines\r",
    "tab\t and bell \x07",
    "breaks \x7f\x85\u2028\u2029\ufeff",
    "# no comment",
    "- [x](y): *no* `list` <b>&amp;",
    "---\nkey: value",
    "{{ 1 + 1 }}",
    "{{ nothing.there }} {% raw %} {# no comment",
    "}} {% endraw %} {{ '",
    "${HOME} %PATH% $(ls) `ls`",
    "emoji 📈🔥 👩‍👩‍👧",
    "한국어",
    "مرحبا \u202eright to left",
    "x" * 5000,
]
OTHERS = {
    "license": ("GPL", "license = 'GPL': must be one of MIT, BSD-3-Clause, Apache-2.0, none"),
    "config_format": ("../x", "config_format = '../x': must be one of json, yaml"),
    "author": (None, "author = None: must be text"),
    "description": ("\udcff", r"description = '\udcff': is not valid Unicode"),
}


@pytest.fixture
def cli(template, tmp_path, monkeypatch):
    """Run cookiecutter in this process and in a folder of its own, with settings and input."""
    settings = {
        "cookiecutters_dir": str(tmp_path / "cache"),
        "replay_dir": str(tmp_path / "replay"),
    }
    config = tmp_path / "config.yaml"
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # of tests that set up logging

    def run(*arguments, defaults=None, replay=None, **options):
        config.write_text(yaml.safe_dump(settings | {"default_context": defaults or {}}), "utf-8")
        command = ["--config-file", str(config), str(template), *arguments]
        if replay is not None:
            (tmp_path / "replay.json").write_text(json.dumps(replay), "utf-8")
            command += ["--replay-file", str(tmp_path / "replay.json")]
        return CliRunner().invoke(main, command, **options)

    run.cwd = cwd
    run.config = config
    return run


@pytest.fixture(scope="module")
def reference(bake):
    """A project of the default answers."""
    return bake()


@pytest.fixture(scope="module")
def replay(template, reference, tmp_path_factory):
    """What cookiecutter remembers of the default answers."""
    folder = tmp_path_factory.mktemp("replay")
    config = folder / "config.yaml"
    config.write_text(json.dumps({"replay_dir": str(folder)}), encoding="utf-8")
    options = ["--no-input", "--config-file", str(config), "--output-dir", str(folder)]
    assert CliRunner().invoke(main, [*options, str(template)]).exit_code == 0
    return json.loads((folder / "template.json").read_text(encoding="utf-8"))


def check_refusal(done, cwd, expected):
    assert done.exit_code == 1, done.output
    [line] = done.output.splitlines()
    assert line.startswith(expected)
    assert not any(cwd.iterdir()) and not any("up" in path.name for path in cwd.parent.iterdir())
    return line


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_a_bad_name_is_refused(name, cli):
    done = cli("--no-input", f"project_name={name}")
    line = check_refusal(done, cli.cwd, f"Project name {name!r} {REFUSED_NAMES[name]}")
    assert not (cli.cwd.parent / "replay").exists()

    suggestion = re.search(r" Try '([^']+)'\.$", line)[1]
    assert local_extensions._fault_of_name(suggestion) is None


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_a_bad_name_in_a_replay_file_is_refused(name, cli, replay):
    answers = replay["cookiecutter"] | {"project_name": name}
    done = cli(replay=replay | {"cookiecutter": answers})
    check_refusal(done, cli.cwd, f"Project name {name!r} {REFUSED_NAMES[name]}")


def test_a_replay_file_may_lack_what_it_never_knew(cli, replay, reference):
    """One of an older version, or written by hand; cookiecutter asks for what is missing."""
    older = {k: v for k, v in replay["cookiecutter"].items() if k not in ("docker", "__checked")}
    for answers in (older, {"project_name": "my-torch-project"}):
        done = cli("--overwrite-if-exists", replay={"cookiecutter": answers}, input="\n" * 20)
        assert done.exit_code == 0, done.output
        assert files(cli.cwd / "my-torch-project") == files(reference)


@pytest.mark.parametrize("key", OTHERS)
def test_other_bad_answers_in_a_replay_file_are_refused(key, cli, replay):
    answer, expected = OTHERS[key]
    done = cli(replay=replay | {"cookiecutter": replay["cookiecutter"] | {key: answer}})
    check_refusal(done, cli.cwd, expected)


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ({"author": None}, "author = None: must be text"),
        ({"author": True}, "author = True: must be text"),
        ({"project_name": "my project"}, "Project name 'my project' contains ' '"),
    ],
)
def test_bad_defaults_of_the_user_are_refused(default, expected, cli):
    check_refusal(cli("--no-input", defaults=default), cli.cwd, expected)


def test_an_unknown_choice_bakes_nothing(cli):
    """Cookiecutter itself refuses it, with a traceback that ends in the choices."""
    done = cli("--no-input", "license=GPL")
    assert done.exit_code == 1 and not any(cli.cwd.iterdir())
    assert str(done.exception).startswith("GPL provided for choice variable license, but the")


@pytest.mark.parametrize("name", ACCEPTED_NAMES)
def test_a_good_name_is_accepted(name, cli, reference):
    done = cli("--no-input", f"project_name={name}")
    assert done.exit_code == 0, done.output
    assert [path.name for path in cli.cwd.iterdir()] == [name]
    assert read_pyproject(cli.cwd / name)["name"] == name
    assert files(cli.cwd / name) == files(reference)


def test_names_of_all_parts_and_requirements_are_refused():
    parts = {p.stem for p in PROJECT.iterdir() if p.suffix == ".py" or p.is_dir()}
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [pyproject["project"]["dependencies"]]
    lists += pyproject["project"].get("optional-dependencies", {}).values()
    lists += pyproject["dependency-groups"].values()
    packages = {re.match(r"[\w-]+", x)[0] for names in lists for x in names if isinstance(x, str)}
    names = {name for name in parts if name[0].isalpha()} | packages
    assert {"base", "train", "torch", "pyyaml", "pytest"} <= names
    text = Environment(extensions=[local_extensions.Answers]).from_string("cookiecutter")
    for name in names:
        with pytest.raises(FailedHookException):
            text.render(cookiecutter={"project_name": name})


@pytest.mark.parametrize("way", ["command line", "defaults", "replay"])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_any_text_is_taken_as_it_is(text, way, cli, reference, replay):
    texts = {"description": text, "author": text}
    if way == "command line":
        done = cli("--no-input", *(f"{key}={value}" for key, value in texts.items()))
    elif way == "defaults":
        done = cli("--no-input", defaults=texts)
    else:
        done = cli(replay={"cookiecutter": replay["cookiecutter"] | texts})
    assert done.exit_code == 0, done.output
    [project] = cli.cwd.iterdir()
    assert read_pyproject(project)["description"] == text
    assert read_pyproject(project)["authors"] == [{"name": text}]
    written = files(project)
    assert written == files(reference)
    expected_files, found = without_command(contents(reference)), without_command(contents(project))
    for name in written - {"pyproject.toml"}:
        expected = expected_files[name]
        if name in ("LICENSE", "README.md"):
            expected = expected.replace(b"Your Name", text.encode())
            expected = expected.replace(b"A PyTorch training project", text.encode())
        assert found[name] == expected, name


def test_prompts_take_any_text(cookiecutter, tmp_path):
    text = "{{ 1 + 1 }} {% raw %} {# no comment"
    answers = ["asked", text, "Ada", "1", "1", "1", "2", *[""] * 10]
    done = cookiecutter(cwd=tmp_path, input="\n".join(answers))
    assert done.returncode == 0, done.stderr
    assert "Format of the config file" in done.stdout
    assert read_pyproject(tmp_path / "asked")["description"] == text
    assert "config.yaml" in files(tmp_path / "asked")


def test_prompts_refuse_a_bad_name_at_once(cookiecutter, tmp_path):
    done = cookiecutter(cwd=tmp_path, input="{{ 1 }}\n")
    assert done.returncode == 1
    assert done.stdout.endswith("Try '1'.\n") and "What it does" not in done.stdout
    assert not any(tmp_path.iterdir())


def read_pyproject(project):
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
