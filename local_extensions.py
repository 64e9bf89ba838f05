"""What cookiecutter loads together with the template: how it takes the answers.

A hook comes too late to refuse one: cookiecutter has then made the folders, keeps "a" of "a/b", and
buries the reason under a traceback. A FailedHookException raised from here is one line and leaves
nothing behind.
"""

import json
import os
import re
import shlex
import sys
import unicodedata
from pathlib import Path

from cookiecutter.exceptions import FailedHookException
from jinja2.ext import Extension
from jinja2.runtime import Context

WINDOWS = {"aux", "con", "nul", "prn"}
WINDOWS |= {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
TEMPLATE = Path(__file__).resolve().parent
PROMPTS = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
[PROJECT] = TEMPLATE.glob("{{*")
OWN = {path.stem for path in PROJECT.iterdir() if path.is_dir() or path.suffix == ".py"}
OWN |= {"saved"}  # once it has trained
REQUIRED = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
REQUIRED = REQUIRED.split("\ndependencies = ")[1].split("[tool.")[0]
PACKAGES = {*re.findall(r'"(\w[\w-]*)', REQUIRED), "pandas", "pip", "torchvision", "yaml"}


class Answers(Extension):
    """Makes Jinja check the answers, leave them as they are, and know two filters."""

    def __init__(self, environment):
        super().__init__(environment)
        environment.filters["escaped"] = escaped
        environment.filters["command_for_full"] = command_for_full
        environment.context_class = CheckedContext
        # `cruft update` bakes an old and a new version in one process, each with its own rules
        sys.modules.pop(__name__, None)

    def preprocess(self, source, name, filename=None):
        """Cookiecutter renders answers, unless they were typed: `{{` in one is no more than text.

        Only files have a name here, and all else that the template itself has rendered says whose
        variables it wants.
        """
        is_answer = name is None and "cookiecutter." not in source
        return f"{{{{ {ascii(source)} }}}}" if is_answer else source


class CheckedContext(Context):
    """The variables of anything that is rendered: the answers so far.

    In cookiecutter.json, `__checked` is rendered right after the first answer. A replay file goes
    round the prompts; its answers are checked when the name of the new folder is rendered.
    """

    def __init__(self, environment, parent, *args, **kwargs):
        super().__init__(environment, parent, *args, **kwargs)
        answers = parent.get("cookiecutter", {})
        if fault := _fault_of_answers(answers) or _fault_of_target(answers):
            raise FailedHookException(fault)


def escaped(text):
    """Escape text for the inside of double quotes, in Python, JSON, TOML and YAML alike."""
    text = json.dumps(text, ensure_ascii=False)[1:-1]
    # JSON leaves these alone; TOML refuses the first, YAML takes the others for line breaks or none
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def command_for_full(answers):
    """The command that adds the files of a full project to one that was baked with these answers.

    cruft knows the answers by itself; it has left a commit among them.
    """
    if "_commit" in answers:
        return 'cruft update -y --variables-to-update \'{"size": "full"}\''
    template = answers.get("_template", TEMPLATE)
    if template == answers.get("_repo_dir"):  # a folder, perhaps by a relative path
        template = TEMPLATE
    command = ["cookiecutter", shlex.quote(str(template)), "--output-dir", "..", "--no-input"]
    if checkout := answers.get("_checkout"):
        command += ["--checkout", shlex.quote(checkout)]
    command += ["--overwrite-if-exists", "--skip-if-file-exists", "size=full"]
    command += [f"project_name={answers['project_name']}"]
    choices = [k for k, default in PROMPTS.items() if isinstance(default, list) and k[0] != "_"]
    return " ".join(command + [f"{key}={answers[key]}" for key in choices if key != "size"])


def _fault_of_answers(answers):
    for key, default in PROMPTS.items():
        if key.startswith("_") or key not in answers:
            continue
        answer = answers[key]
        if not isinstance(answer, str):
            return f"{key} = {answer!r}: must be text"
        if isinstance(default, list) and answer not in default:
            return f"{key} = {answer!r}: must be one of {', '.join(default)}"
        if re.search("[\ud800-\udfff]", answer):
            return f"{key} = {answer!r}: is not valid Unicode"
        if key == "project_name" and (fault := _fault_of_name(answer)):
            return f"Project name {answer!r} {fault}. Try {_suggestion(answer)!r}."
    return None


def _fault_of_name(name):
    if not name:
        return "is empty"
    if bad := re.search(r"[^A-Za-z0-9._-]", name):
        return f"contains {bad[0]!r}; only a-z, A-Z, 0-9, '-', '_' and '.' go everywhere"
    if not (name[0].isalnum() and name[-1].isalnum()):
        return "does not start and end with a letter or a digit"
    if len(name) > 100:
        return "is longer than 100 characters"
    if name.split(".")[0].lower() in WINDOWS:
        return "is reserved on Windows"
    if name.lower() in PACKAGES:
        return "is the name of a package that the project needs"
    if re.sub(r"[-.]", "_", name.lower()) in OWN:
        return "is the name of a part of the project"
    return None


def _suggestion(name):
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", plain)[:60].strip("-._")
    if not plain:
        return "my-torch-project"
    return f"my-{plain}" if _fault_of_name(plain) else plain


def _fault_of_target(answers):
    """Known once all questions are answered: can the project be written where it belongs?"""
    if "_output_dir" not in answers:
        return None
    target = Path(answers["_output_dir"], answers["project_name"])
    there = next(path for path in (target, *target.parents) if os.path.lexists(path))
    if not there.is_dir():
        return f"{there} is there already, and is not a folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written to"
    return None
