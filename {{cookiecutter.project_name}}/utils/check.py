"""Compare what a config says with type hints and signatures; say in words what would be valid."""

import inspect
import json
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    tuple: "a list",
    dict: "a block",
    NoneType: "null",
}
SYNONYMS = (
    "lr learning_rate; batch_size bs; epochs max_epochs num_epochs; num_workers workers; "
    "weight_decay wd l2; arch model; loss criterion; accuracy acc; early_stop patience"
)


@dataclass(frozen=True)
class Range:
    """For `Annotated`: a number of at least `low` and, where that is given, less than `below`."""

    low: float
    below: float = float("inf")

    def allows(self, value):
        return self.low <= value < self.below

    def __str__(self):
        return f"{self.low} or more" + f" and below {self.below}" * (self.below != float("inf"))


@dataclass(frozen=True)
class Pattern:
    """For `Annotated`: a string that matches `regex`; `words` says so to people."""

    regex: str
    words: str

    def allows(self, value):
        return re.fullmatch(self.regex, value) is not None

    def __str__(self):
        return self.words


# For an argument without a hint whose default is a number: anything but text may be meant
A_NUMBER = Annotated[float | list | dict | None, "a number"]


class Mistake(NamedTuple):
    path: tuple  # of keys and list positions, from the top of the config
    text: str


def read_value(hint, value, path, mistakes):
    """`value` with blocks as the dataclasses of `hint`; appends what is wrong to `mistakes`."""
    if get_origin(hint) in (Union, UnionType):
        hint = _member(hint, value)
    if is_dataclass(hint):
        return _read_block(hint, value, path, mistakes)
    inner = get_args(hint)
    if get_origin(hint) is list and inner and isinstance(value, list):
        return [read_value(inner[0], one, (*path, i), mistakes) for i, one in enumerate(value)]
    if get_origin(hint) is dict and inner and isinstance(value, dict):
        return {k: read_value(inner[1], one, (*path, k), mistakes) for k, one in value.items()}
    if not _fits(hint, value):
        mistakes.append(wrong_value(path, value, _words(hint)))
    return value


def _member(hint, value):
    """The member of a union that a value has the form of; the union itself where it fits none."""
    members = {get_origin(one) or one: one for one in get_args(hint)}
    block = next((one for one in members if is_dataclass(one)), None)
    if block and isinstance(value, str) and str not in members:
        return block  # a name alone
    if block and isinstance(value, dict):
        is_block = not value or {field.name for field in fields(block)} & set(value)
        several = not is_block and all(isinstance(one, dict) for one in value.values())
        return members[dict] if several and dict in members else block
    return members.get(type(value), hint)


def _read_block(cls, value, path, mistakes):
    hints = get_type_hints(cls, include_extras=True)
    if isinstance(value, str) and "type" in hints:
        value = {"type": value}  # a name alone stands for a part without arguments
    if not isinstance(value, dict):
        mistakes.append(wrong_value(path, value, "a block" + " or a name" * ("type" in hints)))
        return None
    unknown = [key for key in value if key not in hints]
    mistakes += [unknown_key((*path, key), hints, inner_keys(hints, value)) for key in unknown]
    required = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING]
    missing = [key for key in required if key not in value]
    mistakes += [Mistake((*path, key), ": is missing") for key in missing]
    values = {
        key: read_value(hints[key], one, (*path, key), mistakes)
        for key, one in value.items()
        if key in hints
    }
    return None if missing else cls(**values)


def check_arguments(function, args, path, positional=0, keywords=()):
    """What is wrong with `args` as keyword arguments of a class or function.

    The code itself gives the first `positional` arguments and those named in `keywords`. Types are
    judged by the hints, those of base classes too, else by the default; what cannot be, passes.
    """
    try:
        known, takes_any = parameters_of(function, positional)
    except ValueError:  # written in C, without a signature
        return []
    mistakes = [
        Mistake((*path, name), f": is missing, {function.__name__} needs it")
        for name, parameter in known.items()
        if parameter.default is parameter.empty and name not in args and name not in keywords
    ]
    hints = {name: _hint_like(parameter.default) for name, parameter in known.items()}
    hints |= hints_of(function)
    for name, value in args.items():
        if name in known or takes_any:
            read_value(hints.get(name, object), value, (*path, name), mistakes)
        else:
            mistakes.append(unknown_key((*path, name), known))
    return mistakes


def _hint_like(default):
    """What passes for an argument without a hint."""
    if isinstance(default, bool):
        return bool
    return A_NUMBER if isinstance(default, (int, float)) else object


def parameters_of(function, positional=0):
    """The parameters of a class or function that have names, and whether it takes others as well.

    Where a class hands on what it does not name, those of its base classes count too, as optional.
    """
    parameters = list(inspect.signature(function).parameters.values())[positional:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {p.name: p for p in parameters if p.kind in named}
    bases = list(function.__mro__[1:]) if inspect.isclass(function) else []
    while (takes_any := any(p.kind is p.VAR_KEYWORD for p in parameters)) and bases:
        if "__init__" in vars(base := bases.pop(0)):
            parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
            for p in [p for p in parameters if p.kind in named and p.name not in known]:
                known[p.name] = p.replace(default=None) if p.default is p.empty else p
    return known, takes_any


def hints_of(function):
    hints = {}
    is_class = inspect.isclass(function)
    for one in [cls.__init__ for cls in reversed(function.__mro__)] if is_class else [function]:
        try:
            hints |= get_type_hints(one, include_extras=True)
        except (NameError, TypeError, AttributeError):
            pass  # hints that cannot be evaluated here tell nothing
    return hints


def _fits(hint, value):
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [limit for limit in inner[1:] if isinstance(limit, (Range, Pattern))]
        return _fits(inner[0], value) and all(limit.allows(value) for limit in limits)
    if origin in (Union, UnionType):
        return any(_fits(one, value) for one in inner if not is_of_torch(one))
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if is_dataclass(hint):
        return False  # a block is read as such before
    kind = origin or hint
    if isinstance(value, bool):
        return kind is bool or kind not in PLAIN
    accepted = {float: (int, float), tuple: (list, tuple)}.get(kind, kind)
    return kind not in PLAIN or isinstance(value, accepted)


def is_of_torch(hint):
    return str(getattr(hint, "__module__", "")).startswith("torch")  # no config can hold one


def _can_judge(hint):
    return get_origin(hint) in (Annotated, Literal) or (get_origin(hint) or hint) in PLAIN


def _words(hint):
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        is_range = isinstance(inner[1], Range)
        return f"{_words(inner[0])}, {inner[1]}" if is_range else str(inner[1])
    if origin in (Union, UnionType):
        words = " or ".join(_words(one) for one in inner if _can_judge(one))
        tensor = ", or a tensor, which only code of your own can give"
        return words + tensor * any(map(is_of_torch, inner))
    if origin is Literal:
        return " or ".join(json.dumps(one) for one in inner)
    return PLAIN[origin or hint]


def wrong_value(path, value, valid):
    shown = json.dumps(value, ensure_ascii=False, default=repr)
    return Mistake(path, f" = {shown}: must be {valid}")


def unknown_key(path, names, inner=()):
    """`inner` are dotted keys of which the last one may have been meant."""
    meant = [one for one in inner if one.rpartition(".")[2] in (path[-1], *synonyms(path[-1]))]
    near = nearest(meant[0] if meant else path[-1], [*names, *meant])
    return Mistake(path, f": unknown key; {near}")


def inner_keys(hints, value):
    """Those of the blocks in a block, such as "trainer.epochs", and of the args given there."""
    blocks = {key: fields(hint) for key, hint in hints.items() if is_dataclass(hint)}
    names = [f"{key}.{field.name}" for key, found in blocks.items() for field in found]
    parts = {key: one.get("args") for key, one in value.items() if isinstance(one, dict)}
    args = {key: one for key, one in parts.items() if isinstance(one, dict)}
    return names + [f"{key}.args.{name}" for key, one in args.items() for name in one]


def synonyms(name):
    return [one for group in SYNONYMS.split("; ") if name in group.split() for one in group.split()]


def nearest(name, names):
    """`did you mean …?` by case, synonym and spelling, or all names where none is near."""
    by_letters = {re.sub(r"[\W_]", "", one).lower(): one for one in names}
    letters = re.sub(r"[\W_]", "", str(name)).lower()
    same = [one for one in names if one in synonyms(name)]
    close = [by_letters[one] for one in get_close_matches(letters, by_letters, n=1)]
    found = [by_letters[letters]] if letters in by_letters else same + close
    if found:
        return f"did you mean {found[0]!r}?"
    return f"valid: {', '.join(names)}" if names else "none is valid here"
