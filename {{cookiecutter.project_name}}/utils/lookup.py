"""The classes and functions that a config names, and whether they take its arguments."""

import ast
import inspect
from contextlib import suppress
from importlib import import_module
from inspect import Parameter, isabstract, isclass
from typing import Any, get_type_hints

from utils.check import Keys, Mistake, is_numbers, nearest, read_keys, read_value, takes_tensor
from utils.errors import UserError, in_full


def look_up(name: str, modules: Any) -> Any:
    """The class or function called `name`, from the first of `modules` (a list or one) that has it.

    A dotted name is imported. Raises UserError with the nearest names where there is none.
    """
    place, _, name = name.rpartition(".")
    modules = modules if isinstance(modules, list) else [modules]
    try:
        modules = [import_module(place)] if place else modules
    except (ImportError, TypeError) as error:
        reason = in_full() if place.partition(".")[0] == "tools" else error
        raise UserError(f"cannot import {place!r}: {reason}") from None
    for module in modules:
        found: Any = getattr(module, name, None)
        if is_usable(found):
            return found
        if isabstract(found) and found.__module__ == module.__name__:
            missing = ", ".join(sorted(found.__abstractmethods__))
            raise UserError(f"{name!r} in {module.__name__} is incomplete: it has no {missing}")
    near = nearest(name, [one for module in modules for one in own_names(module)])
    places = " or ".join(module.__name__ for module in modules)
    raise UserError(f"there is no {name!r} in {places}; {near}")


def is_usable(found: Any) -> bool:
    """Whether a config can name it: it can be called and is complete."""
    is_alias = getattr(found, "__module__", None) == "typing"  # List, Any, …
    return callable(found) and not isabstract(found) and not is_alias


def own_names(module: Any) -> list[str]:
    """What a config can name of a module, without what that has imported from elsewhere."""
    found = {name: one for name, one in vars(module).items() if is_usable(one) and name[0] != "_"}
    origins = {name: str(getattr(one, "__module__", "")) for name, one in found.items()}
    return [name for name in found if origins[name].startswith(module.__name__)]


def check_part(path: Keys, part: Any, modules: Any) -> list[Mistake]:
    """What is wrong with the part under `path`: its type, its arguments, and what is in these."""
    try:
        found = look_up(part.type, modules)
    except UserError as error:
        return [Mistake((*path, "type"), f": {error}")]
    key, name = path[0], found.__name__
    given = int(key == "optimizer" or (key == "lr_scheduler" and name != "ChainedScheduler"))
    if key in ("loss", "metrics") and not isclass(found):
        given = 2  # output and target
    mistakes = check_arguments(found, part.args, (*path, "args"), given)
    for pattern, args in getattr(part, "groups", {}).items():
        group = check_arguments(found, part.args | args, (*path, "groups", pattern), given)
        mistakes += [mistake for mistake in group if mistake.path[-1] in args]
    inner = part.args.get("schedulers", []) if key == "lr_scheduler" else []  # as in SequentialLR
    for index, one in enumerate(inner):
        where = (*path, "args", "schedulers", index)
        scheduler = read_value(type(part), one, where, mistakes)
        mistakes += check_part(where, scheduler, modules) if scheduler else []
    return mistakes


def check_arguments(function: Any, args: Any, path: Keys, given: int = 0) -> list[Mistake]:
    """What is wrong with `args` as keyword arguments of a class or function.

    The code itself gives the first `given` arguments. Types are judged by the hints, else by the
    default; what cannot be judged, passes.
    """
    known, takes_any = arguments_of(function, given)
    hints = {name: argument.annotation for name, argument in known.items()}
    required = [name for name, argument in known.items() if argument.default is argument.empty]
    mistakes: list[Mistake] = []
    read_keys(hints, required, args, path, mistakes, takes_any)
    return mistakes


def arguments_of(function: Any, given: int = 0) -> tuple[dict[str, Parameter], bool]:
    """The arguments of a class or function by name, and whether it takes others as well.

    Where a class hands on what it does not name (**kwargs) to its base, those of the base count
    too, as optional. What a base says of an argument holds where the class itself says no more.
    """
    bases = [vars(cls).get("__init__") for cls in getattr(function, "__mro__", [object])[:-1]]
    chain = list(filter(None, bases)) if isclass(function) else [function]
    known: dict[str, Parameter] = {}
    takes_any = hands_on = bool(chain)
    for one in chain:
        try:
            parameters = list(inspect.signature(one).parameters.values())[isclass(function) :]
        except ValueError:  # written in C, without a signature
            return {}, True
        hints, types = _hints(one, with_limits=True), _hints(one, with_limits=False)
        for p in parameters[given if one is chain[0] else 0 :]:
            hint, own = hints.get(p.name), known.get(p.name)
            if own is not None and own.annotation in (None, types.get(p.name)):
                known[p.name] = own.replace(annotation=hint or own.annotation)
            elif own is None and hands_on and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
                is_required = one is chain[0] and p.default is p.empty
                default = None if p.default is p.empty and not is_required else p.default
                known[p.name] = p.replace(annotation=hint, default=default)
        if hands_on:
            takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
            hands_on = takes_any and gives_to_base(one)
    for name, own in known.items():
        known[name] = own.replace(annotation=own.annotation or hint_like(own.default))
    return known, takes_any


def gives_to_base(init: Any) -> bool:
    """Whether an __init__ gives its **kwargs to that of its base, and not to a data set, say."""
    with suppress(OSError, TypeError, SyntaxError):  # no source
        nodes = ast.walk(ast.parse("if 1:\n" + inspect.getsource(init)))
        calls = [one for one in nodes if None in {x.arg for x in getattr(one, "keywords", ())}]
        return any(".__init__(" in ast.unparse(one) for one in calls)
    return True


def _hints(function: Any, with_limits: bool) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=with_limits)
    except (NameError, TypeError, AttributeError):
        return {}  # hints that cannot be evaluated here tell nothing


def hint_like(default: Any) -> Any:
    """What an argument without a hint takes. A default of 0 or 1 may stand for any number."""
    if isinstance(default, bool):
        return bool
    if isinstance(default, (int, float)):
        is_whole = isinstance(default, int) and default not in (0, 1)
        return (int if is_whole else float) | list | dict | None
    return object


def with_tensors(function: Any, args: dict[str, Any], device: str = "cpu") -> dict[str, Any]:
    """The arguments, with a list of numbers as a tensor where the function takes one."""
    lists = [name for name, value in args.items() if is_numbers(value)]
    known = arguments_of(function)[0] if lists else {}
    names = [name for name in lists if name in known and takes_tensor(known[name].annotation)]
    if not names:
        return args
    import torch

    from utils.device import get_device

    kind = torch.get_default_dtype()
    return args | {
        name: torch.tensor(args[name], dtype=kind, device=get_device(device)) for name in names
    }
