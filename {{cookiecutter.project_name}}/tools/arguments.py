"""Whether the arguments in a config fit the code that it names: told before any data are read.

Without this file, a wrong argument is Python's own TypeError, once the part is built.
"""

import ast
import inspect
from contextlib import suppress
from inspect import Parameter, isclass
from typing import Any, get_type_hints

from base import Callback
from parse_config import ConfigParser
from settings import Settings
from utils.check import Keys, Mistake, look_up, nearest, read_value
from utils.errors import UserError
from utils.optim import by_name


class Arguments(Callback):
    """Compares the args of each part with what the class or function under its name takes."""

    def on_check(self, config: ConfigParser, mistakes: list, before_data: bool = False) -> None:
        mistakes += check_together(config.settings)
        wrong = {mistake.path for mistake in mistakes}  # such as a type that is not there
        for key, places in config.modules.items():
            for path, part in config.parts(key).items():
                found = check_part(path, part, places)
                mistakes += [mistake for mistake in found if mistake.path not in wrong]
        order = {key: n for n, key in enumerate(config.modules)}
        mistakes.sort(key=lambda mistake: order.get(mistake.path[0], -1))


def check_together(settings: Settings) -> list[Mistake]:
    """Mistakes in what belongs together: each key alone would be right."""
    found, names = [], {"loss", "lr", "epoch"}
    for index, metric in enumerate(settings.metrics):
        name = metric.name or metric.type.rpartition(".")[2]
        if name in names or name.startswith("val_"):
            text = f': the name {name!r} is taken; give it another, "name": "…"'
            found.append(Mistake(("metrics", index), text))
        names.add(name)
    optimizers = by_name(settings.optimizer)
    if settings.trainer.accumulate_steps > 1 and "" not in optimizers:
        found.append(Mistake(("trainer", "accumulate_steps"), ": goes with one optimizer alone"))
    for name in by_name(settings.lr_scheduler).keys() - optimizers.keys():
        several = ", ".join(optimizers) or "one alone"
        found.append(Mistake(("lr_scheduler",), f" {name}: must go with optimizer: {several}"))
    return found


def check_part(path: Keys, part: Any, modules: Any) -> list[Mistake]:
    """What is wrong with the part under `path`: its type, or its arguments."""
    try:
        found = look_up(part.type, modules)
    except UserError as error:
        return [Mistake((*path, "type"), f": {error}")]
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        return [Mistake((*path, "type"), f": {part.type!r} is incomplete: it has no {missing}")]
    mistakes: list[Mistake] = []
    args, given = part.args, 1 if path[0] == "optimizer" else 0
    if path[0] in ("loss", "metrics") and not isclass(found):
        given = 2  # output and target
    if path[0] == "lr_scheduler":
        args = args | {"optimizer": None}
        for index, one in enumerate(args.get("schedulers", [])):  # as in SequentialLR
            where = (*path, "args", "schedulers", index)
            scheduler = read_value(type(part), one, where, mistakes)
            mistakes += check_part(where, scheduler, modules) if scheduler else []
    return mistakes + check_arguments(found, args, (*path, "args"), given)


def check_arguments(function: Any, args: dict, path: Keys, given: int = 0) -> list[Mistake]:
    """What is surely wrong with `args` for what has its first `given` arguments."""
    known, takes_any = arguments_of(function, given)
    required = [name for name, argument in known.items() if argument.default is argument.empty]
    mistakes = [Mistake((*path, name), ": is missing") for name in required if name not in args]
    for name, value in args.items():
        if name in known:
            read_value(known[name].annotation, value, (*path, name), mistakes)
        elif not takes_any:
            mistakes.append(Mistake((*path, name), f": unknown key; {nearest(name, [*known])}"))
    return mistakes


def arguments_of(function: Any, given: int = 0) -> tuple[dict[str, Parameter], bool]:
    """The arguments of a class or function by name, and whether it takes others as well.

    Those of a base to which **kwargs go count as optional; what it says of one holds for all.
    """
    of_class = [cls for cls in getattr(function, "__mro__", ()) if "__init__" in vars(cls)]
    known: dict[str, Parameter] = {}
    takes_any = False
    for one in reversed(of_class or [function]):  # from the base on
        try:
            parameters = [*inspect.signature(one).parameters.values()]
        except ValueError:  # written in C, without a signature
            return {}, True
        init, hints = one.__init__ if isclass(one) else one, {}
        with suppress(NameError, TypeError, AttributeError):  # what cannot be evaluated here
            hints = get_type_hints(init, include_extras=True)
        of_base = {name: p.replace(default=None) for name, p in known.items()}
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        judged = {p.name: hints.get(p.name, hint_like(p.default)) for p in named}
        known = {p.name: p.replace(annotation=judged[p.name]) for p in named}
        for name in known.keys() & of_base.keys():
            limited = of_base[name].annotation
            if hints.get(name) in (None, getattr(limited, "__origin__", None)):
                known[name] = known[name].replace(annotation=limited)
        takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters)
        if takes_more and gives_to_base(init):
            known = of_base | known
        else:
            takes_any = takes_more
    return {name: known[name] for name in [*known][given:]}, takes_any


def gives_to_base(init: Any) -> bool:
    """Whether an __init__ gives its **kwargs to that of its base, and not to a data set, say."""
    with suppress(OSError, TypeError, SyntaxError):  # no source
        nodes = ast.walk(ast.parse("if 1:\n" + inspect.getsource(init)))
        calls = [one for one in nodes if None in {x.arg for x in getattr(one, "keywords", ())}]
        return any(".__init__(" in ast.unparse(one) for one in calls)
    return True


def hint_like(default: Any) -> Any:
    """What an argument without a hint takes, as far as its default tells."""
    if isinstance(default, bool):
        return bool
    return float | list | dict | None if isinstance(default, (int, float)) else object
