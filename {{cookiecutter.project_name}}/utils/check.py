"""Check a config: its values against type hints, its parts against the code; say what is valid."""

import ast
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, isabstract, isclass
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from utils.errors import UserError, in_full

Keys = tuple  # the way to a value in the config: keys, and positions in lists
WORDS: dict[Any, str] = {  # what a config can hold
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    tuple: "a list",
    dict: "a block",
    NoneType: "null",
}
SYNONYMS = {  # what others call a key
    **dict.fromkeys(["epochs", "max_epochs", "num_epochs"], "trainer.epochs"),
    **dict.fromkeys(["lr", "learning_rate"], "optimizer.args.lr"),
    **dict.fromkeys(["bs", "batch_size"], "data_loader.args.batch_size"),
    **{"workers": "data_loader.args.num_workers", "patience": "trainer.early_stop"},
    **{"acc": "accuracy", "val_acc": "val_accuracy", "model": "arch", "criterion": "loss"},
}


OPEN = re.compile(r"\$\{data\.\w+\}|auto|(\d+\.?\d*)%")  # the last two in a schedule


@dataclass(frozen=True)
class Range:
    """For `Annotated`: a number of at least `low` and, where that is given, less than `below`."""

    low: float
    below: float = inf

    def allows(self, value: float) -> bool:
        return self.low <= value < self.below

    def __str__(self) -> str:
        return f"{self.low} or more" + f" and below {self.below}" * (self.below != inf)


@dataclass(frozen=True)
class Pattern:
    """For `Annotated`: a string that matches `regex`; `words` says so to people."""

    regex: str
    words: str

    def allows(self, value: str) -> bool:
        return re.fullmatch(self.regex, value) is not None


class Mistake(NamedTuple):
    path: Keys
    text: str


def open_values(value: Any, path: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """What stands in a config for a value that the data tell, and where: see tools/from_data.py."""
    if isinstance(value, (dict, list)) and path != ("data_loader",):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from open_values(one, (*path, key))
    elif isinstance(value, str) and OPEN.fullmatch(value):
        if value[0] == "$" or path[0] == "lr_scheduler":
            yield path, value


def read_value(hint: Any, value: Any, path: Keys, mistakes: list[Mistake]) -> Any:
    """`value` with blocks as the dataclasses of `hint`; appends what is wrong to `mistakes`."""
    if get_origin(hint) in (Union, UnionType):
        hint = _member(hint, value)
    origin, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return _read_block(hint, value, path, mistakes)
    if origin is list and isinstance(value, list):
        return [read_value(inner[0], one, (*path, i), mistakes) for i, one in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {k: read_value(inner[1], one, (*path, k), mistakes) for k, one in value.items()}
    if not fits(hint, value):
        mistakes.append(Mistake(path, must_be(value, in_words(hint))))
    return value


def _member(hint: Any, value: Any) -> Any:
    """The member of a union that a value has the form of; the union itself where it fits none."""
    members = {get_origin(one) or one: one for one in get_args(hint)}
    block = next(filter(is_dataclass, members), None)
    if block and isinstance(value, str) and str not in members:
        return block  # a name alone
    if block and isinstance(value, dict):
        is_block = not value or not {field.name for field in fields(block)}.isdisjoint(value)
        is_several = not is_block and all(isinstance(one, dict) for one in value.values())
        return members[dict] if is_several and dict in members else block
    return members.get(type(value), hint)


def _read_block(cls: Any, value: Any, path: Keys, mistakes: list[Mistake]) -> Any:
    hints = get_type_hints(cls, include_extras=True)
    if isinstance(value, str) and "type" in hints:
        value = {"type": value}  # a name alone stands for a part without arguments
    if not isinstance(value, dict):
        mistakes.append(Mistake(path, must_be(value, "a block" + " or a name" * ("type" in hints))))
        return None
    required = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING]
    values = read_keys(hints, required, value, path, mistakes, takes_any=False)
    return cls(**values) if values.keys() >= {*required} else None


def read_keys(
    hints: Any, required: Any, block: Any, path: Keys, mistakes: list[Mistake], takes_any: bool
) -> dict[str, Any]:
    """The values of the keys in a block that have a hint, read; `takes_any` lets others pass."""
    for key in [key for key in block if key not in hints and not takes_any]:
        mistakes.append(Mistake((*path, key), f": unknown key; {nearest(key, hints)}"))
    mistakes += [Mistake((*path, key), ": is missing") for key in required if key not in block]
    known = [key for key in block if key in hints]
    return {key: read_value(hints[key], block[key], (*path, key), mistakes) for key in known}


def fits(hint: Any, value: Any) -> bool:
    """Whether a value fits a type hint; of a class that no config can hold, anything does."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [limit for limit in inner[1:] if isinstance(limit, (Range, Pattern))]
        return fits(inner[0], value) and all(limit.allows(value) for limit in limits)
    if takes_tensor(hint) and is_numbers(value):
        return True
    if origin in (Union, UnionType):
        return any(fits(one, value) for one in inner if not takes_tensor(one))
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    kind = origin or hint
    if isinstance(value, bool):
        return kind is bool or kind not in WORDS
    accepted = {float: (int, float), tuple: (list, tuple)}.get(kind, kind)
    return not is_dataclass(hint) and (kind not in WORDS or isinstance(value, accepted))


def takes_tensor(hint: Any) -> bool:
    """Whether a hint names torch.Tensor and no list: then a list of numbers becomes a tensor."""
    return "torch.Tensor" in str(hint) and "list" not in str(hint)


def is_numbers(value: Any) -> bool:
    """Whether a value is a list of numbers, or a list of such lists."""
    return isinstance(value, list) and all(is_numbers(x) or fits(float, x) for x in value)


def must_be(value: Any, valid: str) -> str:
    """What is wrong with a value; `valid` says what would be right."""
    return f" = {json.dumps(value, ensure_ascii=False, default=repr)}: must be {valid}"


def in_words(hint: Any) -> str:
    """What fits a hint; "" where no config can hold it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limit = inner[1]
        return limit.words if isinstance(limit, Pattern) else f"{in_words(inner[0])}, {limit}"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(filter(None, map(in_words, inner))))
    if origin is Literal:
        return " or ".join(map(json.dumps, inner))
    return "a list of numbers" if takes_tensor(hint) else WORDS.get(origin or hint, "")


def nearest(name: str, names: Iterable[str]) -> str:
    """`did you mean …?` by synonym and spelling; where no name is near, the least far ones."""

    def letters(text: str) -> str:
        return re.sub(r"[\W_]", "", text).lower()

    by_letters, meant = {letters(one): one for one in names}, SYNONYMS.get(name, name)
    end = meant.rpartition(".")[2]
    near = get_close_matches(letters(end), by_letters, n=1)
    if end in by_letters.values() or near or "." in meant:
        found = end if end in by_letters.values() else by_letters[near[0]] if near else meant
        return f"did you mean {found!r}?"
    some = get_close_matches(letters(name), by_letters, n=12, cutoff=0)
    more = ", …" * (len(some) < len(by_letters))
    return f"valid: {', '.join(by_letters[one] for one in some) or 'none'}{more}"


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
