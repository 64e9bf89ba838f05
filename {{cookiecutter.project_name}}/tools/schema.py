"""Print a JSON Schema of the config, with which editors complete and check it.

python train.py --schema > config.schema.json

It is made from settings.py and from the classes and functions that a config can name, and follows
tools/arguments.py. What find_types does not list, a config can still name by its dotted path.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from parse_config import ConfigParser
from settings import Settings
from tools import for_one_process
from tools.arguments import arguments_of
from tools.from_data import OPEN, is_length
from train import part_modules
from utils.check import Keys, Range, kind_of

FLAG = {"action": "store_true", "help": "print a JSON Schema of the config, for editors"}
Schema = dict[str, Any]

TYPES: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    tuple: "array",
    dict: "object",
    NoneType: "null",
}
# What a class has to be made from to be listed; under other keys it is torch.nn.Module
KINDS = {
    "data_loader": "DataLoader",
    "loss": "_Loss",
    "metrics": "Metric",
    "optimizer": "Optimizer",
    "lr_scheduler": "LRScheduler",
}
# They take functions or schedulers, which a config cannot express
LEFT_OUT = {"ChainedScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR"}


def run(_config: ConfigParser, _value: Any) -> None:
    """Print the schema of this project's configs."""
    for_one_process("--schema")
    print(json.dumps(make_schema(), indent=1))


def make_schema() -> Schema:
    import torch

    schema = block_schema(Settings)
    schema["properties"]["$schema"] = {"type": "string"}
    hints = get_type_hints(Settings, include_extras=True)
    definitions: Schema = {}
    for key, modules in part_modules().items():
        args = {name: args_schema(one, key) for name, one in find_types(key, modules).items()}
        part = part_schema(hints[key], key, args, definitions)
        schema["properties"][key] = _sentence(Settings, key) | part
    release = ".".join(torch.__version__.split(".")[:2])
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "$comment": f"torch {release}"}
    return {**head, **schema, "definitions": definitions}


def find_types(key: str, modules: Iterable[Any]) -> dict[str, Any]:
    """The classes and functions to name under `key`, without base classes and helpers."""
    found: dict[str, Any] = {}
    for module in modules:
        for name, one in sorted(vars(module).items()):
            public = not name.startswith("_") and name not in LEFT_OUT
            if public and _is_usable(one) and _is_meant(one, key, module.__name__):
                found.setdefault(name, one)
    return found


def _is_usable(one: Any) -> bool:
    is_alias = getattr(one, "__module__", None) == "typing"  # List, Any, …
    return callable(one) and not inspect.isabstract(one) and not is_alias


def _is_meant(one: Any, key: str, place: str) -> bool:
    kind = KINDS.get(key, "Module")
    is_kind = inspect.isclass(one) and kind in [base.__name__ for base in one.__mro__[1:]]
    if place.startswith("torch."):
        names = list(inspect.signature(one).parameters) if inspect.isfunction(one) else []
        return is_kind or names[:2] == ["input", "target"]
    is_own = one.__module__ == place and key in ("loss", "metrics")
    return is_own or (is_kind and not one.__module__.startswith(("base.", "torch.")))


def args_schema(function: Callable[..., Any], key: str) -> Schema:
    """The arguments of a class or function by name, without those that the code gives."""
    is_call = key in ("loss", "metrics") and not inspect.isclass(function)
    given = 2 if is_call else 1 if key in ("optimizer", "lr_scheduler") else 0
    known, takes_any = arguments_of(function, given)
    properties = {
        name: _with_default(_or_open(value_schema(one.annotation), (key, name)), one.default)
        for name, one in known.items()
    }
    return _block(
        properties, [name for name, one in known.items() if one.default is one.empty], takes_any
    )


def _or_open(schema: Schema, path: Keys) -> Schema:
    """With what stands for a number that the data tell: see tools/from_data.py."""
    has_length = path[0] == "lr_scheduler" and is_length(path)
    pattern = OPEN.pattern if has_length else OPEN.pattern.partition("|")[0]
    text = {"type": "string", "pattern": f"^(?:{pattern})$"}
    if path[0] == "data_loader" or not ({"type", "anyOf"} & schema.keys()):
        return schema
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], text]}
    kind = schema["type"]
    return schema | text | {"type": [kind, "string"]} if kind in ("integer", "number") else schema


def _with_default(schema: Schema, default: Any) -> Schema:
    """With what editors fill in, where there is something and JSON has it."""
    try:
        text = json.dumps(default, allow_nan=False)
    except (TypeError, ValueError):
        text = "null"
    return schema if text == "null" else {**schema, "default": json.loads(text)}


def block_schema(cls: Any) -> Schema:
    """A dataclass: its fields with the comments beside them, and no other keys."""
    hints = get_type_hints(cls, include_extras=True)
    properties = {
        f.name: _with_default(_sentence(cls, f.name) | value_schema(hints[f.name]), f.default)
        for f in fields(cls)
    }
    schema = _block(properties, [f.name for f in fields(cls) if f.default is f.default_factory])
    return schema | {"type": ["object", "string"]} if "type" in hints else schema


def _block(properties: Schema, required: list[str], others: bool = False) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    schema |= {"required": required} if required else {}
    return schema if others else schema | {"additionalProperties": False}


def _sentence(cls: Any, name: str) -> Schema:
    """The comment beside a field of a dataclass, or above it, which only its source has."""
    classes: list[Any] = [one for one in cls.__mro__ if is_dataclass(one)]
    for one in classes:
        lines = inspect.getsource(one).splitlines()
        for above, line in zip(lines, lines[1:], strict=False):
            if line.strip().startswith(f"{name}: "):
                beside = line.partition("  # ")[2]
                text = beside or above.strip().removeprefix("# ") * (above.strip()[:1] == "#")
                return {"description": text[0].upper() + text[1:]} if text else {}
    return {}


def value_schema(hint: Any) -> Schema:
    """What fits a type hint; {} where that cannot be judged."""
    origin, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return block_schema(hint)
    if origin is Annotated:
        limits = [_limit(one) for one in inner[1:]]
        return {k: v for one in [value_schema(inner[0]), *limits] for k, v in one.items()}
    if origin in (Union, UnionType):
        members = [value_schema(one) for one in inner]
        if {} in members or not members:
            return {}
        return {"anyOf": members} if len(members) > 1 else members[0]
    if origin is Literal:
        return {"enum": list(inner)}
    kind = kind_of(hint)
    schema: Schema = {"type": TYPES[kind]} if kind in TYPES else {}
    if origin in (list, dict) and (items := value_schema(inner[-1])):
        schema["items" if origin is list else "additionalProperties"] = items
    return schema


def _limit(limit: Any) -> Schema:
    if isinstance(limit, re.Pattern):
        return {"pattern": f"^(?:{limit.pattern})$"}
    if isinstance(limit, str):
        return {"patternErrorMessage": f"must be {limit}"}
    if isinstance(limit, Range):
        below = {"exclusiveMaximum": limit.below} if isfinite(limit.below) else {}
        return {"minimum": limit.low} | below
    return {}


def part_schema(hint: Any, key: str, args: Schema, definitions: Schema) -> Schema:
    """A part or its name alone; by the hint also several by name, null, or a list of them.

    `args` has the schema of the arguments of each name; the part itself goes to `definitions`.
    Editors give better messages for "if" than for "anyOf", and offer the "examples".
    """
    if get_origin(hint) is list:
        return {"type": "array", "items": part_schema(get_args(hint)[0], key, args, definitions)}
    members = [hint, *get_args(hint)]
    cls = next(filter(is_dataclass, members))
    definitions[key] = _named_part(block_schema(cls), args)
    part: Schema = {"$ref": f"#/definitions/{key}"}
    if any(get_origin(one) is dict for one in members):
        other_keys = {"not": {"enum": [f.name for f in fields(cls)]}}
        blocks = {"propertyNames": other_keys, "additionalProperties": {"type": "object"}}
        several = {"minProperties": 1, **blocks}
        part = {"if": several, "then": {"additionalProperties": part}, "else": part}
    types = ["string", "object"] + ["null"] * (NoneType in members)
    alone = [name for name in args if "required" not in args[name]]
    either = {"if": {"type": "string"}, "then": _one_of(alone), "else": part}
    return {"type": types, "examples": alone, **either}


def _named_part(schema: Schema, args: Schema) -> Schema:
    schema["properties"]["type"] |= _one_of(list(args))
    schema["allOf"] = []
    for name, one in args.items():
        condition = {"properties": {"type": {"const": name}}, "required": ["type"]}
        then = {"properties": {"args": one}} | ({"required": ["args"]} if "required" in one else {})
        schema["allOf"].append({"if": condition, "then": then})
    return schema


def _one_of(names: list[str]) -> Schema:
    return {"anyOf": [{"enum": names}, {"pattern": r"^\w+(\.\w+)+$"}]}
