"""Config file + command line -> checked, typed settings, and objects built by name."""

import argparse
import json
import logging
from collections import namedtuple
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property, partial, reduce
from inspect import isclass
from operator import getitem
from pathlib import Path
from typing import Any

from logger import setup_logging
from settings import Settings
from utils import distributed, extras
from utils.check import Keys, Mistake, look_up, read_value
from utils.errors import UserError, in_full
from utils.files import PROJECT_DIR, find_file, project_path, read_config, to_plain, write_json
from utils.optim import by_name
from utils.run_dir import discard, is_run, make_run_dir, mark_start

# A command line option that sets a value of the config; its target is "optimizer.args.lr",
# "optimizer;args;lr" or ("optimizer", "args", "lr")
Option = namedtuple("Option", "flags type target")


class ConfigParser:
    """The config of a run, checked: UserError has a line for each mistake in it.

    `config` is a dict as in config.json; `modification` maps keys such as "optimizer.args.lr" to
    values that win over it. `self[...]` is the dict with all defaults, `settings` the same, typed.
    `run_id` names the run directory in place of the time; `resume` is a checkpoint to go on from.
    """

    def __init__(
        self,
        config: dict[str, Any],
        resume: str | Path | None = None,
        modification: dict[Any, Any] | None = None,
        run_id: str | None = None,
        source: Any = "config",
    ) -> None:
        self.resume = None if resume is None else Path(resume)
        self.run_id = run_id
        self.source = source  # the file, for messages
        self.args: Any = None  # what else was on the command line
        self.modules: dict[str, Any] = {}  # where types are looked up, by the keys of the config
        self._made: list[Path] = []  # the folders that were made for this run
        self.modification = {_keys(k): to_plain(v) for k, v in (modification or {}).items()}
        config = to_plain(config)
        config.pop("$schema", None)  # it is there for editors
        for path, value in self.modification.items():
            _set_by_path(config, path, value)
        self.read(config)

    def read(self, config: dict[str, Any]) -> None:
        """Take the values of `config`, a dict as in config.json."""
        mistakes: list[Mistake] = []
        if config.get("n_gpu") == 0:
            config = config | {"device": "cpu"}
        self.settings: Settings = read_value(Settings, config, (), mistakes)
        self._raise(mistakes)
        as_given = {key: one for key, one in config.items() if not isinstance(one, dict)}
        self.config: dict[str, Any] = asdict(self.settings) | as_given
        self.given = to_plain(self.config)  # what a run keeps: code may set more in `config`

    @classmethod
    def from_file(
        cls, path: str | Path, modification: dict[Any, Any] | None = None, **kwargs: Any
    ) -> "ConfigParser":
        path = find_file(path)
        return cls(read_config(path), modification=modification, source=path, **kwargs)

    @classmethod
    def from_args(
        cls,
        parser: argparse.ArgumentParser,
        options: Iterable[Any] = (),
        argv: list[str] | None = None,
        to_train: bool = True,
    ) -> "ConfigParser":
        """Read the command line: -c, -r, -d, the given options, and any number of KEY=VALUE.

        With `to_train`, `-r auto` stands for a new run where the last one is over.
        """
        for flags, kwargs in STANDARD_ARGUMENTS.items():
            with suppress(argparse.ArgumentError):  # the script may have added it by itself
                parser.add_argument(*flags, **kwargs)
        targets = {".".join(_keys(option.target)): option for option in options}
        for target, option in targets.items():
            flag = argparse.BooleanOptionalAction  # --flag and --no-flag
            kind = {"action": flag} if option.type is bool else {"type": option.type}
            parser.add_argument(*option.flags, dest=target, help=f"sets {target}", **kind)
        args = parser.parse_intermixed_args(argv)  # KEY=VALUE may stand anywhere
        modification: dict[Any, Any] = dict(_parse_override(text) for text in args.overrides)
        if device := args.device:  # a script may have "" for none
            modification["device"] = f"cuda:{device}" if device.isdecimal() else device
        modification |= {key: v for key in targets if (v := getattr(args, key)) is not None}
        file = args.config or default_config()
        if args.resume is not None:
            from utils.resume import config_of_run  # takes torch

            config = config_of_run(cls, args, file, modification, to_train)
        else:
            config = cls.from_file(file, modification)
        config.args = args
        return config

    def __getitem__(self, name: str) -> Any:
        return self.config[name]

    def check_parts(self, modules: dict[str, Any], before_data: bool = False) -> None:
        """Compare the parts with the code that they name, and raise all mistakes at once.

        `modules` maps keys of the config to the modules where their types are looked up, in order.
        `before_data` says that the data are still to be read: see `Callback.on_check`.
        """
        self.modules, mistakes = modules, []
        for key, places in modules.items():
            for path, part in self.parts(key).items():
                try:
                    look_up(part.type, places)
                except UserError as error:
                    has_more = key == "metrics" and not extras.modules_of(key)
                    more = "; more are in the full project: see README.md" if has_more else ""
                    mistakes.append(Mistake((*path, "type"), f": {error}{more}"))
        for callback in self.callbacks:
            callback.on_check(self, mistakes, before_data)
        for key in extras.not_served(self.settings):
            mistakes.append(Mistake(_keys(key), f": {in_full()}"))
        self._raise(mistakes)

    def init_obj(self, name: Any, module: Any, *args: Any, **kwargs: Any) -> Any:
        """Build what the config has under `name`, a key or a tuple of keys; None where it has null.

        The type is looked up in `module`, one or a list, and called with `args`, the args of the
        config and `kwargs`, which win over the config.
        """
        if (part := self.part(name)) is None:
            return None
        found = look_up(part["type"], module)
        try:
            return found(*args, **{**part["args"], **kwargs})
        except (OSError, TypeError, ValueError) as error:
            is_own = not (isinstance(error, OSError) or found.__module__.startswith("torch."))
            if is_own or isinstance(error, UserError):
                raise  # the traceback of the user's own code says more
            return self._raise([Mistake(_keys(name), f": {error}")])

    initialize = init_obj  # by the name that it had in 2019

    def init_ftn(self, name: Any, module: Any, *args: Any, **kwargs: Any) -> Any:
        """As init_obj, but not called yet: a function that takes the remaining arguments."""
        part = self.part(name)
        return partial(look_up(part["type"], module), *args, **{**part["args"], **kwargs})

    def init_callable(self, name: Any, module: Any, device: Any = "cpu") -> Any:
        """A loss or metric: a function of (output, target) with its args set, or an object."""
        import torch

        part = self.part(name)
        found, args = look_up(part["type"], module), dict(part["args"])
        hints: dict[str, Any] = {}
        for one in getattr(found, "__mro__", [found])[::-1]:  # a class hands arguments to its base
            hints |= getattr(one.__init__ if isclass(one) else one, "__annotations__", {})
        for key, hint in hints.items():
            if isinstance(args.get(key), list) and "Tensor" in str(hint):  # a list becomes one
                args[key] = torch.tensor(args[key], dtype=torch.get_default_dtype(), device=device)
        ready: Any = found(**args) if isclass(found) else partial(found, **args)
        ready.__name__ = part["name"] or found.__name__
        return ready.to(device) if hasattr(ready, "to") else ready

    def init_each(self, key: str, build: Callable[[Keys], Any]) -> Any:
        """`build(path)` of the part under `key`, or None; of several parts, a dict or list."""
        value = getattr(self.settings, key)
        built = {path[-1]: build(path) for path in self.parts(key)}
        if isinstance(value, list):
            return [*built.values()]
        return built if isinstance(value, dict) else built.get(key)

    def parts(self, key: str) -> dict[Keys, Any]:
        """The parts under a key of the config, by the keys that lead to each."""
        value = getattr(self.settings, key)
        named = dict(enumerate(value)) if isinstance(value, list) else by_name(value)
        return {(key,) if name == "" else (key, name): part for name, part in named.items()}

    def part(self, name: Any) -> Any:
        """What is under `name`, a key or a tuple of keys, with "type" and "args"; None for null."""
        value: Any = reduce(getitem, _keys(name), self.config)
        value = {"type": value} if isinstance(value, str) else value
        return value and {"args": {}, "name": None, **value}

    def _raise(self, mistakes: list[Mistake]) -> None:
        """Raise a UserError with a line for each mistake, which says where it was made."""
        lines = []
        for path, text in mistakes:
            typed = [one for one in self.modification if one[: len(path)] == path[: len(one)]]
            source = "command line" if typed else self.source
            lines.append(f"{source}: {'.'.join(map(str, path))}{text}")
        if lines:
            raise UserError("\n".join(lines)) from None

    @cached_property
    def callbacks(self) -> list[Any]:
        return extras.load_callbacks()

    @property
    def runs_dir(self) -> Path:
        """Where the runs of this name are kept."""
        return project_path(self.settings.trainer.save_dir) / self.settings.name

    @cached_property
    def save_dir(self) -> Path:
        """The run directory, that of `resume` where that is in one; made when first asked for."""
        if self.resume is not None and is_run(self.resume.parent):
            return self.resume.parent
        run_dir, self._made = distributed.on_main(lambda: make_run_dir(self.runs_dir, self.run_id))
        return run_dir

    log_dir = property(lambda self: self.save_dir)

    def start_run(self) -> None:
        """Mark the run directory, keep the config in it and start its log file."""
        try:
            if distributed.is_main():
                mark_start(self.save_dir)
                write_json(self.given, self.save_dir / "config.json")
        except OSError as error:
            raise UserError(f"{self.save_dir}: cannot be written: {error.strerror}") from None
        setup_logging(self.save_dir)

    def discard_run(self) -> None:
        """Remove the folders that were made for a run that has not begun, with what is in them."""
        if distributed.is_main():
            discard(self._made)

    def get_logger(self, name: str, verbosity: int = 2) -> logging.Logger:
        """A logger that shows warnings (verbosity 0), epochs too (1), or all (2)."""
        setup_logging()
        logger = logging.getLogger(name)
        logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[verbosity])
        return logger


STANDARD_ARGUMENTS: dict[tuple[str, ...], dict[str, Any]] = {
    ("-c", "--config"): {"metavar": "FILE", "help": "config, JSON or YAML (the project's own)"},
    ("-r", "--resume"): {"metavar": "CHECKPOINT", "help": "or auto, the newest; or best"},
    ("-d", "--device"): {"metavar": "DEVICE", "help": "auto, cpu, cuda, cuda:1 or mps"},
    ("--allow-data-change",): {"action": "store_true", "help": "go on with other data (full)"},
    ("overrides",): {"nargs": "*", "metavar": "KEY=VALUE", "help": "as in trainer.epochs=5"},
}


def _keys(name: Any) -> Keys:
    """The keys in "optimizer.args.lr" or "optimizer;args;lr"; a tuple or list of keys as it is."""
    return tuple(name.replace(";", ".").split(".")) if isinstance(name, str) else tuple(name)


def _set_by_path(tree: dict[str, Any], path: Keys, value: Any) -> None:
    for key, after in zip(path, path[1:], strict=False):
        if isinstance(tree.get(key), str):
            tree[key] = {"type": tree[key]}  # a part without arguments gets some
        elif tree.get(key) is None:
            tree[key] = {}
        tree = tree[key]
        if not isinstance(tree, dict):
            raise UserError(f"command line: {'.'.join(path)}: {key} is not a block")
        if after == "args" and tree and "type" not in tree:
            raise UserError(f"command line: {'.'.join(path)}: there are several: {', '.join(tree)}")
    tree[path[-1]] = value


def _parse_override(text: str) -> tuple[Keys, Any]:
    name, equals, value = text.partition("=")
    if not equals or not all(_keys(name)):
        raise UserError(f"command line: {text!r} is not KEY=VALUE, as in optimizer.args.lr=0.01")
    try:
        return _keys(name), json.loads(value)
    except json.JSONDecodeError:  # a plain word needs no quotes
        return _keys(name), {"True": True, "False": False, "None": None}.get(value, value)


def default_config() -> Path:
    """The project's own config file."""
    in_json, in_yaml = PROJECT_DIR / "config.json", PROJECT_DIR / "config.yaml"
    return in_yaml if in_yaml.exists() and not in_json.exists() else in_json
