"""Config files of the old project: what has another name now, and the user's own keys."""

import ast
import copy
import json
import re
from collections.abc import Iterable, Set
from keyword import iskeyword
from typing import Any

from migrating.rules import is_scheduler
from migrating.source import Source, dotted
from migrating.tree import parse_config

Config = dict[str, Any]
Mistake = tuple[list[str], str]  # the way to a value, and what is wrong with it
KEY = r'"{}"\s*:\s*'
VALUE = r'(?:"[^"]*"|[-\w.]+)'


NAMED_BY = ("experiment_name", "exper_name", "exp_name", "experiment")  # in place of `name`
ALSO = "; the old name is there too, as code reads it"
RENAMED = {"tensorboardX": "tensorboard", "save_freq": "save_period"}  # in the block `trainer`


def set_in_code(trees: dict[str, ast.Module]) -> set[str]:
    """The keys at the top of a config that code sets: the config of a run will have them."""
    found = set()
    for node in (one for tree in trees.values() for one in ast.walk(tree)):
        for target in getattr(node, "targets", ()):
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                names = dotted(target.value).removeprefix("self.")
                is_config = names == "config.config" or re.fullmatch(r"config\w*", names)
                if is_config and isinstance(target.slice.value, str):
                    found.add(target.slice.value)
    return found


def read_in_code(trees: Iterable[ast.Module]) -> set[str]:
    """The keys that code reads, of whatever it may be."""
    found: set[Any] = set()
    for node in (one for tree in trees for one in ast.walk(tree)):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            found.add(node.slice.value)
        elif isinstance(node, ast.Call) and dotted(node.func).endswith(".get") and node.args:
            found.add(getattr(node.args[0], "value", None))
    return {one for one in found if isinstance(one, str)}


def convert(config: Config, read: Set[str] = frozenset()) -> tuple[Config, list[str]]:
    """A config with the names of today, and the reasons for what has changed.

    Of an old name that is in `read`, which code reads, both are there.
    """
    reasons: list[str] = []
    config = copy.deepcopy(config)
    for key in () if "name" in config or "trainer" not in config else NAMED_BY:
        if isinstance(config.get(key), str):
            config = {"name": config[key], **config}
            reasons.append(f"name: the folder of the runs, which {key} named")
            break
    trainer = config.get("trainer") or {}
    for before, now in RENAMED.items():
        if before in trainer and now not in trainer:
            trainer[now] = trainer[before] if before in read else trainer.pop(before)
            more = ALSO * (before in read)
            reasons.append(f"trainer.{before} is called {now}{more}")
    if "log_dir" not in read and trainer.pop("log_dir", None) is not None:
        reasons.append("trainer.log_dir: logs are in the folder of the run")
    if mode := trainer.pop("monitor_mode", None):
        trainer["monitor"] = f"{mode} {trainer.get('monitor', 'val_loss')}"
        reasons.append('trainer.monitor_mode stands in trainer.monitor, as in "min val_loss"')
    if "trainer" in config and isinstance(trainer, dict):
        if "monitor" not in trainer:
            trainer["monitor"] = "off"
            reasons.append('trainer: no monitor meant "off", and is "min val_loss" now')
        early_stop = trainer.get("early_stop")
        if isinstance(early_stop, int) and early_stop < 0:
            trainer["early_stop"] = 0
            reasons.append("trainer.early_stop: 0 means never, as a negative number did")
    if isinstance(config.get("n_gpu"), int) and config["n_gpu"] > 1:
        config["n_gpu"] = 1
        reasons.append("n_gpu: for several GPUs start train.py with torchrun")
    for part in config.values():
        if isinstance(part, dict) and is_scheduler(str(part.get("type"))):
            if "verbose" in (part.get("args") or {}):
                del part["args"]["verbose"]
                reasons.append("schedulers have no verbose any more")
    return config, reasons


def convert_text(
    text: str, name: str = "config.json", read: Set[str] = frozenset()
) -> tuple[str, list[str]]:
    """The same for the text of a file, which is otherwise left as it is."""
    wanted, reasons = convert(parse_config(name, text), read)
    if not reasons:
        return text, []
    if not name.endswith(".json"):
        import yaml  # cookiecutter brings it

        if len(reasons) == 1 and reasons[0].startswith("name:"):
            return f"name: {json.dumps(wanted['name'])}\n{text}", reasons
        reasons.append("comments in YAML are lost where a value changes")
        return yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True), reasons
    edited = text
    if "name: the folder" in str(reasons):
        item = f'"name": {json.dumps(wanted["name"])},'
        edited = re.sub(r"\{(\s*)", lambda m: f"{{{m[1]}{item}{m[1] or ' '}", edited, count=1)
    for before, now in _renamed(reasons):
        edited = re.sub(KEY.format(before), f'"{now}": ', edited)
    for before, now in _renamed(reasons, ALSO):
        edited = re.sub(f"{KEY.format(before)}({VALUE})", rf'\g<0>, "{now}": \1', edited)
    edited = re.sub(KEY.format("n_gpu") + r"\d+", f'"n_gpu": {wanted.get("n_gpu")}', edited)
    if 'no monitor meant "off"' in str(reasons):
        edited = re.sub(r'("trainer"\s*:\s*\{)(\s*)', r'\1\2"monitor": "off",\2', edited, count=1)
    edited = re.sub(KEY.format("early_stop") + r"-\d+", '"early_stop": 0', edited)
    for key in ("log_dir",) * ("log_dir" not in read) + ("verbose",):
        item = KEY.format(key) + VALUE
        edited = re.sub(rf",\s*{item}|{item}\s*,?\s*", "", edited)
    try:
        if json.loads(edited) == wanted:
            return edited, reasons
    except ValueError:
        pass
    return json.dumps(wanted, indent=4, ensure_ascii=False) + "\n", reasons


def _renamed(reasons: list[str], more: str = "") -> list[tuple[str, str]]:
    return [(a, b) for a, b in RENAMED.items() if f"trainer.{a} is called {b}{more}" in reasons]


MISTAKES = """
import json, sys
from settings import Settings
from utils.check import read_value
found = []
for config in json.load(sys.stdin):
    mistakes = []
    read_value(Settings, config, (), mistakes)
    found += [[list(map(str, one.path)), one.text] for one in mistakes]
json.dump(found, sys.stdout)
"""
# Parts that the old project's own train.py may build in its own way
PARTS = ("arch", "data_loader", "optimizer", "loss", "metrics", "lr_scheduler")
HEAD = """
    # Keys of the old project's own code, or parts that its train.py builds in its own way:
    # migrate.py has declared them, and nothing checks their values
"""


def adapt_settings(text: str, mistakes: list[Mistake]) -> tuple[str, list[Mistake]]:
    """settings.py with the old project's own keys declared; the mistakes that are left."""
    blocks: dict[str, dict[str, str]] = {"Settings": {}, "TrainerSettings": {}}
    left: list[Mistake] = []
    known = _fields(text, "Settings")
    for path, words in mistakes:
        is_new = "unknown key" in words and path[-1].isidentifier() and not iskeyword(path[-1])
        if path[0] == "trainer" and len(path) == 2 and is_new:
            blocks["TrainerSettings"][path[1]] = "Any"
        elif len(path) == 1 and "is missing" in words:
            annotation = ast.unparse(known[path[0]].annotation)
            blocks["Settings"].setdefault(path[0], f"{annotation} | None")
        elif path[0] in PARTS or (len(path) == 1 and is_new):
            blocks["Settings"][path[0]] = "Any"
        else:
            left.append((path, words))
    for cls, keys in blocks.items():
        text = _without(text, cls, keys)
        lines = [f"    {key}: {hint} = None\n" for key, hint in keys.items()]
        if lines:
            end = _end(text, cls)
            text = text[:end] + HEAD.lstrip("\n") + "".join(lines) + text[end:]
    return text, left


def _class(text: str, name: str) -> Any:
    return next(one for one in ast.parse(text).body if getattr(one, "name", "") == name)


def _fields(text: str, name: str) -> dict[str, Any]:
    body = _class(text, name).body
    return {ast.unparse(one.target): one for one in body if isinstance(one, ast.AnnAssign)}


def _end(text: str, name: str) -> int:
    return sum(map(len, text.splitlines(keepends=True)[: _class(text, name).end_lineno]))


def _without(text: str, cls: str, keys: dict[str, str]) -> str:
    """The class without these fields and the comments above them."""
    lines = text.splitlines(keepends=True)
    body = _class(text, cls).body
    for number in reversed(range(len(body))):
        node = body[number]
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in keys:
            has_comment = lines[node.lineno - 2].strip().startswith("#")
            del lines[node.lineno - 1 - has_comment : node.end_lineno]
    return "".join(lines)


def convert_python(source: Source, config: Config) -> None:
    """Today's names in a config that is a dict in a Python file."""
    reasons = convert(config)[1]
    for node in source.nodes(ast.Dict):
        for key in node.keys:
            for before, now in _renamed(reasons):
                if getattr(key, "value", None) == before:
                    source.replace(key, repr(now), f"trainer.{before} is called {now}")
    for reason in reasons:
        if not any(name in reason for name in RENAMED):
            source.note(source.tree.body[0], f"to be changed by hand: {reason}")
