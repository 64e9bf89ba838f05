"""What is said of a mistake in a config: what would be valid, and what may have been meant."""

import json
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

WORDS = {
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

MOST_NAMES = 40  # that are shown where none is near


def must_be(value: Any, valid: Any) -> str:
    """What is wrong with a value; `valid` says what would be right, as a hint or in words."""
    shown = json.dumps(value, ensure_ascii=False, default=repr)
    return f" = {shown}: must be {valid if isinstance(valid, str) else in_words(valid)}"


def can_judge(hint: Any) -> bool:
    return get_origin(hint) in (Annotated, Literal) or (get_origin(hint) or hint) in WORDS


def in_words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        is_range = hasattr(inner[1], "low")
        return f"{in_words(inner[0])}, {inner[1]}" if is_range else str(inner[1])
    if origin in (Union, UnionType):
        words = " or ".join(in_words(one) for one in inner if can_judge(one))
        tensor = ", or a tensor, which only code of your own can give"
        if float not in inner and int not in inner:  # see takes_tensor in utils/check.py
            tensor = ", or a list of numbers, which becomes a tensor"
        is_of_torch = any(str(getattr(one, "__module__", "")).startswith("torch") for one in inner)
        return words + tensor * is_of_torch
    if origin is Literal:
        return " or ".join(json.dumps(one) for one in inner)
    return WORDS[origin or hint]


def nearest_key(key: str, names: Iterable[str], inner: Iterable[str] = ()) -> str:
    """As `nearest`; `inner` are dotted keys of which the last part may have been meant."""
    meant = [one for one in inner if one.rpartition(".")[2] in (key, *synonyms(key))]
    return nearest(meant[0] if meant else key, [*names, *meant])


def inner_keys(hints: dict[str, Any], value: dict[str, Any]) -> list[str]:
    """Those of the blocks in a block, such as "trainer.epochs", and of the args given there."""
    blocks = {key: fields(hint) for key, hint in hints.items() if is_dataclass(hint)}
    names = [f"{key}.{field.name}" for key, found in blocks.items() for field in found]
    parts = {key: one.get("args") for key, one in value.items() if isinstance(one, dict)}
    args = {key: one for key, one in parts.items() if isinstance(one, dict)}
    return names + [f"{key}.args.{name}" for key, one in args.items() for name in one]


def synonyms(name: str) -> list[str]:
    """The names that others use for the same thing, this one included."""
    if name.startswith("val_"):
        return [f"val_{one}" for one in synonyms(name.removeprefix("val_"))]
    return [one for group in SYNONYMS.split("; ") if name in group.split() for one in group.split()]


def nearest(name: str, names: list[str]) -> str:
    """`did you mean …?` by case, synonym and spelling, or all names where none is near."""
    by_letters = {re.sub(r"[\W_]", "", one).lower(): one for one in names}
    letters = re.sub(r"[\W_]", "", str(name)).lower()
    same = [one for one in names if one in synonyms(name)]
    close = [by_letters[one] for one in get_close_matches(letters, by_letters, n=1)]
    found = [by_letters[letters]] if letters in by_letters else same + close
    if found:
        return f"did you mean {found[0]!r}?"
    if len(names) > MOST_NAMES:
        some = [by_letters[x] for x in get_close_matches(letters, by_letters, n=5, cutoff=0)]
        return f"the nearest are {', '.join(some)}"
    return f"valid: {', '.join(names)}" if names else "none is valid here"
