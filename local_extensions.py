"""Two filters that cookiecutter.json names, so that cookiecutter loads them with the template."""

import json
import re
import unicodedata

from cookiecutter.exceptions import FailedHookException
from cookiecutter.utils import simple_filter

WINDOWS = {"aux", "con", "nul", "prn"}
WINDOWS |= {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
PACKAGES = {"numpy", "pydantic", "pytest", "pyyaml", "ruff", "tensorboard", "torch", "tqdm", "yaml"}
PACKAGES |= {"matplotlib", "mlflow", "pillow", "wandb"}
OWN = {"base", "data", "data_loader", "docs", "logger", "model", "parse_config", "settings"}
OWN |= {"test", "tests", "tools", "train", "trainer", "utils"}
OWN |= {"export", "notebooks", "predict", "report", "runs"}


@simple_filter
def escaped(text):
    """Escape text for the inside of double quotes, in Python, JSON, TOML and YAML alike."""
    text = json.dumps(text, ensure_ascii=False)[1:-1]
    # JSON leaves these alone; TOML refuses the first, YAML takes the others for line breaks or none
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda found: f"\\u{ord(found[0]):04x}", text)


@simple_filter
def checked_name(name):
    """Refuse a bad name as soon as it is given, before anything is on disk.

    A pre_gen_project hook comes too late: cookiecutter has then made the folders, keeps "a" of
    "a/b", and buries the reason under a traceback. This exception it prints as one line.
    """
    if fault := _fault(name):
        raise FailedHookException(f"Project name {name!r} {fault}. Try {_suggestion(name)!r}.")
    return name


def _fault(name):
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
    return f"my-{plain}" if _fault(plain) else plain
