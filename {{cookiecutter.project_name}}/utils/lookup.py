import inspect
from importlib import import_module

from utils.check import nearest


def look_up(name, modules):
    """The class or function called `name` in the first of `modules`, or the only one, that has it.

    A dotted name is imported. Raises LookupError with the nearest names where there is none.
    """
    modules = modules if isinstance(modules, list) else [modules]
    for module in modules:
        if is_usable(found := getattr(module, name, None)):
            return found
    if "." in name:
        return _import(name)
    names = [one for module in modules for one in dir(module) if is_usable(getattr(module, one))]
    places = " or ".join(module.__name__ for module in modules)
    near = nearest(name, [one for one in names if not one.startswith("_")])
    raise LookupError(f"there is no {name!r} in {places}; {near}")


def is_usable(found):
    is_alias = getattr(found, "__module__", None) == "typing"  # List, Any, …
    return callable(found) and not inspect.isabstract(found) and not is_alias


def _import(path):
    module_name, _, name = path.rpartition(".")
    if not module_name or not name:
        raise LookupError(f"{path!r} is no name of a class or function")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise LookupError(f"cannot import {module_name!r}: {error}") from None
    if not is_usable(found := getattr(module, name, None)):
        near = nearest(name, [one for one in vars(module) if not one.startswith("_")])
        raise LookupError(f"there is no {name!r} in {module_name}; {near}")
    return found
