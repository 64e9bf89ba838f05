"""Compare what a config says with type hints and signatures; say in words what would be valid."""

import inspect
import re
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from inspect import Parameter
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

PLAIN = (bool, int, float, str, list, tuple, dict, NoneType)  # what a config can hold
Keys = tuple  # the way to a value in the config: keys, and positions in lists


@dataclass(frozen=True)
class Range:
    """For `Annotated`: a number of at least `low` and, where that is given, less than `below`."""

    low: float
    below: float = float("inf")

    def allows(self, value: float) -> bool:
        return self.low <= value < self.below

    def __str__(self) -> str:
        return f"{self.low} or more" + f" and below {self.below}" * (self.below != float("inf"))


@dataclass(frozen=True)
class Pattern:
    """For `Annotated`: a string that matches `regex`; `words` says so to people."""

    regex: str
    words: str

    def allows(self, value: str) -> bool:
        return re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return self.words


# For an argument without a hint whose default is a number: anything but text may be meant
A_NUMBER = Annotated[float | list | dict | None, "a number"]


class Mistake(NamedTuple):
    path: Keys
    text: str


def read_value(hint: Any, value: Any, path: Keys, mistakes: list[Mistake]) -> Any:
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
        mistakes.append(Mistake(path, wrong_value(value, hint)))
    return value


def _member(hint: Any, value: Any) -> Any:
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


def _read_block(cls: Any, value: Any, path: Keys, mistakes: list[Mistake]) -> Any:
    hints = get_type_hints(cls, include_extras=True)
    if isinstance(value, str) and "type" in hints:
        value = {"type": value}  # a name alone stands for a part without arguments
    if not isinstance(value, dict):
        valid = "a block" + " or a name" * ("type" in hints)
        mistakes.append(Mistake(path, wrong_value(value, valid)))
        return None
    unknown = [key for key in value if key not in hints]
    mistakes += [Mistake((*path, key), unknown_key(key, hints, value)) for key in unknown]
    required = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING]
    missing = [key for key in required if key not in value]
    mistakes += [Mistake((*path, key), ": is missing") for key in missing]
    values = {
        key: read_value(hints[key], one, (*path, key), mistakes)
        for key, one in value.items()
        if key in hints
    }
    return None if missing else cls(**values)


def check_arguments(
    function: Any, args: Any, path: Keys, positional: int = 0, keywords: Iterable[str] = ()
) -> list[Mistake]:
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
            mistakes.append(Mistake((*path, name), unknown_key(name, known)))
    return mistakes


def wrong_value(value: Any, valid: Any) -> str:
    """What is wrong with a value; `valid` says what would be right, as a hint or in words."""
    from utils.mistakes import must_be  # most configs have none

    return must_be(value, valid)


def unknown_key(key: str, known: Any, block: Any = None) -> str:
    """What is wrong with a key that is not among `known`, with the nearest one that is."""
    from utils.mistakes import inner_keys, nearest_key

    inner = [] if block is None else inner_keys(known, block)
    return f": unknown key; {nearest_key(key, known, inner)}"


def _hint_like(default: Any) -> Any:
    """What passes for an argument without a hint."""
    if isinstance(default, bool):
        return bool
    return A_NUMBER if isinstance(default, (int, float)) else object


def parameters_of(function: Any, positional: int = 0) -> tuple[dict[str, Parameter], bool]:
    """The parameters of a class or function that have names, and whether it takes others as well.

    Where a class hands on what it does not name, those of its base classes count too, as optional.
    """
    parameters = list(inspect.signature(function).parameters.values())[positional:]
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    known = {p.name: p for p in parameters if p.kind in named}
    bases = list(function.__mro__[1:]) if inspect.isclass(function) else []
    while (takes_any := any(p.kind is p.VAR_KEYWORD for p in parameters)) and bases:
        if "__init__" in vars(base := bases.pop(0)):
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            for p in [p for p in parameters if p.kind in named and p.name not in known]:
                known[p.name] = p.replace(default=None) if p.default is p.empty else p
    return known, takes_any


def hints_of(function: Any) -> dict[str, Any]:
    """The type hints of a function, or of a class with its bases, where they can be evaluated.

    Where a class repeats the type that its base gives an argument, the limits of the base stay.
    """
    hints: dict[str, Any] = {}
    types: dict[str, Any] = {}
    is_class = inspect.isclass(function)
    for one in [cls.__init__ for cls in reversed(function.__mro__)] if is_class else [function]:
        try:
            own, own_types = get_type_hints(one, include_extras=True), get_type_hints(one)
        except (NameError, TypeError, AttributeError):
            continue  # hints that cannot be evaluated here tell nothing
        hints |= {name: hint for name, hint in own.items() if hint != types.get(name)}
        types |= own_types
    hints.pop("return", None)
    return hints


def _fits(hint: Any, value: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [limit for limit in inner[1:] if isinstance(limit, (Range, Pattern))]
        return _fits(inner[0], value) and all(limit.allows(value) for limit in limits)
    if takes_tensor(hint) and is_numbers(value):
        return True
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


def takes_tensor(hint: Any) -> bool:
    """Whether a hint is that of a tensor, or of a tensor or None; a number is one by itself."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    rest = [one for one in members if one is not NoneType]
    return bool(rest) and all(is_of_torch(one) and one.__name__ == "Tensor" for one in rest)


def is_numbers(value: Any) -> bool:
    """Whether a value is a list of numbers, or a list of such lists."""
    return isinstance(value, list) and all(
        is_numbers(x) or (isinstance(x, (int, float)) and not isinstance(x, bool)) for x in value
    )


def is_of_torch(hint: Any) -> bool:
    """Whether a hint names a class of torch, of which no config can hold an object."""
    return str(getattr(hint, "__module__", "")).startswith("torch")
