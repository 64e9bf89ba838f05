"""The classes and functions that a config names."""

from importlib import import_module
from inspect import isabstract, isclass

from utils.check import Mistake, check_arguments, nearest


def look_up(name, modules):
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
        if isabstract(found) and found.__module__ == module.__name__:
            missing = ", ".join(sorted(found.__abstractmethods__))
            raise LookupError(f"{name!r} in {module.__name__} is incomplete: it has no {missing}")
    names = [
        one for module in modules for one in dir(module) if is_own(getattr(module, one), module)
    ]
    near = nearest(name, [one for one in names if not one.startswith("_")])
    places = " or ".join(module.__name__ for module in modules)
    raise LookupError(f"there is no {name!r} in {places}; {near}")


def find_part(path, part, modules, positional=0, keywords=()):
    """What the part under `path` names, and the mistakes in the part; see `check_arguments`."""
    try:
        found = look_up(part.type, modules)
    except LookupError as error:
        return None, [Mistake((*path, "type"), f": {error.args[0]}")]
    if path[0] in ("loss", "metrics") and not isclass(found):
        positional = 2  # output and target
    mistakes = check_arguments(found, part.args, (*path, "args"), positional, keywords)
    for pattern, args in getattr(part, "groups", {}).items():
        mistakes += check_arguments(found, args, (*path, "groups", pattern), positional, part.args)
    return found, mistakes


def is_own(found, module):
    """Whether a name of a module is worth showing: not of what it has imported from elsewhere."""
    package = module.__name__.partition(".")[0]
    return is_usable(found) and str(getattr(found, "__module__", "")).startswith(package)


def is_usable(found):
    is_alias = getattr(found, "__module__", None) == "typing"  # List, Any, …
    return callable(found) and not isabstract(found) and not is_alias


def _import(name):
    try:
        return import_module(name)
    except ImportError as error:
        raise LookupError(f"cannot import {name!r}: {error}") from None
