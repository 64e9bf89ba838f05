"""The classes and functions that a config names."""

from collections.abc import Iterable
from importlib import import_module
from inspect import isabstract, isclass
from typing import Any

from utils.check import (
    Keys,
    Mistake,
    check_arguments,
    hints_of,
    is_numbers,
    takes_tensor,
)
from utils.errors import UserError


def look_up(name: str, modules: Any) -> Any:
    """The class or function called `name`, from the first of `modules` (a list or one) that has it.

    A dotted name is imported. Raises LookupError with the nearest names where there is none.
    """
    if not all(name.split(".")):
        raise LookupError(f"{name!r} is no name of a class or function")
    place, _, name = name.rpartition(".")
    modules = [_import(place)] if place else modules if isinstance(modules, list) else [modules]
    for module in modules:
        if is_usable(found := getattr(module, name, None)):
            return found
        if found is not None and isabstract(found) and found.__module__ == module.__name__:
            missing = ", ".join(sorted(found.__abstractmethods__))
            raise LookupError(f"{name!r} in {module.__name__} is incomplete: it has no {missing}")
    from utils.mistakes import nearest  # most configs have no mistake

    names = [
        one for module in modules for one in dir(module) if is_own(getattr(module, one), module)
    ]
    near = nearest(name, [one for one in names if not one.startswith("_")])
    places = " or ".join(module.__name__ for module in modules)
    raise LookupError(f"there is no {name!r} in {places}; {near}")


def find_part(
    path: Keys, part: Any, modules: Any, positional: int = 0, keywords: Iterable[str] = ()
) -> tuple[Any, list[Mistake]]:
    """What the part under `path` names, and the mistakes in the part; see `check_arguments`."""
    try:
        found = look_up(part.type, modules)
    except LookupError as error:
        return None, [Mistake((*path, "type"), f": {error.args[0]}")]
    if path[0] in ("loss", "metrics") and not isclass(found):
        positional = 2  # output and target
    if path[0] == "lr_scheduler" and found.__name__ == "ChainedScheduler":
        positional = 0  # the inner ones have the optimizer
    mistakes = check_arguments(found, part.args, (*path, "args"), positional, keywords)
    for pattern, args in getattr(part, "groups", {}).items():
        mistakes += check_arguments(found, args, (*path, "groups", pattern), positional, part.args)
    return found, mistakes


def with_tensors(found: Any, args: dict[str, Any], device: str) -> dict[str, Any]:
    """The arguments for a class or function, with lists of numbers as tensors where it takes these.

    They are on the device: of a function's arguments, nobody moves them there.
    """
    lists = {name: value for name, value in args.items() if is_numbers(value)}
    if not lists:
        return args
    hints = hints_of(found)
    names = [name for name in lists if takes_tensor(hints.get(name))]
    if not names:
        return args
    import torch

    from utils.device import get_device

    at: dict[str, Any] = {"dtype": torch.get_default_dtype(), "device": get_device(device)}
    return args | {name: torch.tensor(lists[name], **at) for name in names}


def is_own(found: Any, module: Any) -> bool:
    """Whether a name of a module is worth showing: not of what it has imported from elsewhere."""
    package = module.__name__.partition(".")[0]
    return is_usable(found) and str(getattr(found, "__module__", "")).startswith(package)


def is_usable(found: Any) -> bool:
    """Whether a config can name it: it can be called and is complete."""
    is_alias = getattr(found, "__module__", None) == "typing"  # List, Any, …
    return callable(found) and not isabstract(found) and not is_alias


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise LookupError(f"cannot import {name!r}: {error}") from None


def parts_of(model: Any, classes: Iterable[str], key: str) -> list[Any]:
    """The parts of a model that are of these classes, which the config names under `key`.

    Raises UserError where the model has none of a class.
    """
    parts = [(type(one).__name__.removeprefix("FSDP"), one) for one in model.modules()]
    known = {name for name, _ in parts}
    if missing := [name for name in classes if name not in known]:
        raise UserError(f"{key}: the model has no {missing[0]}, but {', '.join(sorted(known))}")
    return [one for name, one in parts if name in classes]
