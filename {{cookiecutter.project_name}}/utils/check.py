"""Check a config: its values against type hints, its names against the code; say what is valid."""

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from utils.errors import UserError

Keys = tuple  # the way to a value in the config: keys, and positions in lists
# What a config can hold
WORDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number"}
WORDS |= {str: "a string", list: "a list", dict: "a block", NoneType: "null"}
SYNONYMS = {"learning_rate": "lr", "bs": "batch_size", "acc": "accuracy", "model": "arch"}


@dataclass(frozen=True)
class Range:
    """For `Annotated`: a number of at least `low` and, where that is given, less than `below`."""

    low: float
    below: float = inf

    def __str__(self) -> str:
        return f"{self.low} or more" + (f" and below {self.below}" if self.below < inf else "")


class Mistake(NamedTuple):
    path: Keys
    text: str


def read_value(hint: Any, value: Any, path: Keys, mistakes: list[Mistake]) -> Any:
    """`value` with blocks as the dataclasses of `hint`; appends what is wrong to `mistakes`."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    origins = {get_origin(one): get_args(one) for one in members}
    block: Any = next(filter(is_dataclass, members), None)
    names = {field.name for field in fields(block)} if block else set()
    if "type" in names and isinstance(value, str):
        value = {"type": value}  # a name alone stands for a part without arguments
    if isinstance(value, dict) and (block or dict in origins):
        are_blocks = names.isdisjoint(value) and all(isinstance(x, dict) for x in value.values())
        if block and not (dict in origins and value and are_blocks):
            return read_block(block, value, path, mistakes)
        inner = origins[dict][1]
        return {key: read_value(inner, one, (*path, key), mistakes) for key, one in value.items()}
    if isinstance(value, list) and list in origins:
        inner = origins[list][0]
        return [read_value(inner, one, (*path, i), mistakes) for i, one in enumerate(value)]
    if words := wanted(hint, value):
        shown = json.dumps(value, ensure_ascii=False, default=repr)
        mistakes.append(Mistake(path, f" = {shown}: must be {words}"))
    return value


def read_block(block: Any, given: dict[str, Any], path: Keys, mistakes: list[Mistake]) -> Any:
    """`given` as the dataclass `block`; None where that finds mistakes."""
    n_before, hints = len(mistakes), get_type_hints(block, include_extras=True)
    required = [x.name for x in fields(block) if x.default is x.default_factory is MISSING]
    mistakes += [Mistake((*path, name), ": is missing") for name in required if name not in given]
    values = {}
    for name, value in given.items():
        if name in hints:
            values[name] = read_value(hints[name], value, (*path, name), mistakes)
        else:
            near = nearest(name, [*names_inside(hints, given), *hints])
            mistakes.append(Mistake((*path, name), f": unknown key; {near}"))
    return None if len(mistakes) > n_before else block(**values)


def names_inside(hints: dict[str, Any], given: dict[str, Any]) -> Iterator[str]:
    """The keys "trainer.epochs", "optimizer.args.lr" … in the blocks of a block."""
    for name, hint in hints.items():
        if is_dataclass(hint):
            yield from (f"{name}.{field.name}" for field in fields(hint))
        if isinstance(given.get(name), dict):
            yield from flat(given[name], name)


def flat(config: Any, path: str = "") -> dict[str, Any]:
    """{"optimizer.args.lr": 0.1, …} of a config."""
    if not isinstance(config, dict) or not config:
        return {path: config}
    parts = [flat(value, f"{path}.{name}".strip(".")) for name, value in config.items()]
    return {key: value for part in parts for key, value in part.items()}


def wanted(hint: Any, value: Any = ...) -> str:
    """What a hint takes, in words; "" where it takes `value`, or nothing that a config can hold."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        is_taken = not wanted(inner[0], value) and all(allows(limit, value) for limit in inner[1:])
        return "" if is_taken else f"{wanted(inner[0])}, {inner[-1]}"
    if origin in (Union, UnionType):
        words = [wanted(one, value) for one in inner]
        return "" if "" in words else " or ".join(dict.fromkeys(words))
    if origin is Literal:
        is_taken = any(value == one and type(value) is type(one) for one in inner)
        return "" if is_taken else " or ".join(map(json.dumps, inner))
    if is_dataclass(hint):
        has_type = any(field.name == "type" for field in fields(hint))
        return "a block or a name" if has_type else "a block"
    kind = kind_of(hint)
    is_number = kind is float and type(value) is int
    return "" if type(value) is kind or is_number else WORDS.get(kind, "")


def allows(limit: Any, value: Any) -> bool:
    """Whether what `Annotated` adds to a hint allows a value: a Range, or what re.compile gives."""
    if isinstance(limit, re.Pattern):
        return limit.fullmatch(value) is not None
    return not isinstance(limit, Range) or limit.low <= value < limit.below


def kind_of(hint: Any) -> Any:
    """The class that a hint names: `list` of list[int], and of what a list becomes."""
    kind = get_origin(hint) or hint
    return list if kind is tuple or getattr(kind, "__name__", "") == "Tensor" else kind


def nearest(name: str, names: list[str]) -> str:
    """`did you mean …?` by the last word of each name; where none is near, which are valid."""
    by_word = {one.rpartition(".")[2].lower(): one for one in names}
    if near := get_close_matches(SYNONYMS.get(name, name).lower(), by_word, n=1):
        return f"did you mean {by_word[near[0]]!r}?"
    own = [one for one in names if "." not in one]
    return f"valid: {', '.join(own) or 'none'}" if len(own) < 25 else f"none of {len(own)} is near"


def look_up(name: str, modules: Any) -> Any:
    """The class or function called `name`, from the first of `modules` (a list or one) that has it.

    A dotted name is imported. Raises UserError with the nearest names where there is none.
    """
    place, _, name = name.rpartition(".")
    modules = modules if isinstance(modules, list) else [modules]
    try:
        modules = [import_module(place)] if place else modules
    except (ImportError, TypeError) as error:
        raise UserError(f"cannot import {place!r}: {error}") from None
    names: list[str] = []
    for module in modules:
        found: Any = getattr(module, name, None)
        if callable(found):
            return found
        for key, one in vars(module).items():  # not what it has only imported
            if key[0] != "_" and str(getattr(one, "__module__", "")).startswith(module.__name__):
                names.append(key)
    places = " or ".join(module.__name__ for module in modules)
    raise UserError(f"there is no {name!r} in {places}; {nearest(name, names)}")
