"""What README.md and docs/ tell people to write and to type does what they say.

The blocks of a page are taken in their order: Python is run, in the file that its first line names;
JSON changes the config; the commands of the scripts are given, with a short training.
"""

import importlib
import json
import os
import re
import shlex
import sys
from types import ModuleType

import pytest

import digits_example
from parse_config import default_config
from utils.files import PROJECT_DIR, read_config

PAGES = [PROJECT_DIR / "README.md", *sorted((PROJECT_DIR / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"python (train|test|runs|report)\.py\b(.*)")
SHORT = {"save_dir": "saved", "epochs": 1, "len_epoch": 2, "tensorboard": False, "report": False}


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request):
    return request.param


@pytest.fixture
def page_runner(page, request, monkeypatch, tmp_path):
    """Runs blocks in tmp_path; what they do to modules is undone in the end.

    Two pages are about this project's own model and data, the others in docs/ about any.
    """
    config = default_config()
    if page.name not in ("README.md", "more_config.md"):
        request.getfixturevalue("example_parts")
        config = digits_example.CONFIG
    modules = dict(sys.modules)
    contents = {name: dict(vars(one)) for name, one in modules.items() if is_own(one)}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("parse_config.default_config", lambda: tmp_path / "config.json")
    yield PageRunner(tmp_path, read_config(config))
    for name in sys.modules.keys() - modules.keys():
        if is_own(sys.modules[name]):
            del sys.modules[name]
    for name, content in contents.items():
        vars(modules[name]).clear()
        vars(modules[name]).update(content)


def is_own(module):
    file = getattr(module, "__file__", None) or ""
    return file.startswith(str(PROJECT_DIR)) and "/site-packages/" not in file


class PageRunner:
    def __init__(self, folder, config):
        self.folder = folder
        self.config = config
        self.config["trainer"] |= SHORT | {"save_dir": str(folder / "saved")}
        self.write_config()
        self.names = {"__name__": "page"}

    def write_config(self):
        (self.folder / "config.json").write_text(json.dumps(self.config), encoding="utf-8")

    def python(self, code):
        code = self.for_the_example(code)
        file = re.match(r"# (\S+)\.py\b", code)
        code = compile(code.replace("/path/to/project", str(PROJECT_DIR)), "page", "exec")
        exec(code, vars(module_of(file[1])) if file else self.names)

    @staticmethod
    def for_the_example(text):
        """Its images have fewer pixels than the digits that the pages speak of."""
        return text.replace("784", "64")

    def json(self, text):
        text = self.for_the_example(text)
        for name in ("arrays.npz", "shards"):
            text = text.replace(f'"{name}"', json.dumps(str(self.folder / name)))
        if "<run_id>" in text:
            text = re.sub(r"saved/[^\"]*?/<run_id>", str(self.a_run()), text)
        changes = json.loads(text)
        trainer = self.config["trainer"] | changes.pop("trainer", {})
        self.config |= changes | {"trainer": trainer}
        self.write_config()

    def command(self, script, arguments):
        if "trackers" in arguments:
            return  # test_trackers.py does it, with the trackers that are installed
        arguments = re.sub(r"\bconfig\.(json|yaml|\W{2} \S+ \W{2})", "config.json", arguments)
        if "<run_id>" in arguments:
            arguments = re.sub(r"saved/\S.*?/<run_id>", str(self.a_run()), arguments)
        arguments = shlex.split(os.path.expandvars(arguments), comments=True)
        if ">" in arguments:
            arguments = arguments[: arguments.index(">")]
        main = importlib.import_module(script).main
        try:
            main([*arguments, *["-d", "cpu"] * ("-d" not in arguments and script == "train")])
        except SystemExit as stop:
            status = 2 if "cuda:1" in arguments else 0  # no such device
            assert stop.code == status, (script, arguments)

    def a_run(self):
        """The newest run; a finished one is made where there is none."""
        if not [*self.folder.glob("saved/*/*/last.pth")]:
            importlib.import_module("train").main(["-d", "cpu"])
        return max(path.parent for path in self.folder.glob("saved/*/*/last.pth"))


def module_of(name):
    """The module of a file, which may be there or be a new one."""
    name = name.replace("/", ".").removesuffix(".__init__")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        sys.modules[name] = ModuleType(name)
        return sys.modules[name]


def test_a_page_is_true(page, page_runner):
    content = page.read_text(encoding="utf-8")
    if "pip install torchmetrics" in content:
        pytest.importorskip("torchmetrics")
    for language, text in BLOCK.findall(content):
        if language == "python":
            try:
                page_runner.python(text)
            except ModuleNotFoundError as error:
                pytest.skip(f"needs {error.name}")  # which the page says
        elif language == "json":
            page_runner.json(text)
        else:
            for script, arguments in COMMAND.findall(text):
                page_runner.command(script, arguments)
