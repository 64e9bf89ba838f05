"""The space of a search: a JSON or YAML file for sweep.py, checked before the first trial.

`Search` and `Dimension` have its keys. A dimension is named by a key of the config, and Optuna
chooses its values: see tools/study.py.
"""

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from parse_config import ConfigParser
from settings import Part
from tools.arguments import check_part
from utils.check import Keys, Mistake, nearest, read_value
from utils.errors import UserError
from utils.files import read_config

GRIDS = ("GridSampler", "BruteForceSampler")  # all points in order: no sampler has to choose
Values = dict[str, Any]  # of a point of the space, by the keys of the config


@dataclass
class Dimension:
    type: Literal["float", "int", "categorical"]
    """As in Optuna's suggest_float, suggest_int and suggest_categorical."""
    low: float | None = None
    """The least value of a number."""
    high: float | None = None
    """The largest value of a number."""
    step: float | None = None
    """The distance between values; null takes any."""
    log: bool = False
    """Take each order of magnitude as often as the others."""
    choices: list[Any] | None = None
    """The values of a categorical one: words, numbers, or blocks such as a model's sizes."""
    when: dict[str, Any] = field(default_factory=dict)
    """Used only where other dimensions, above it, have these values: a value or a list of some."""

    def applies(self, values: Values) -> bool:
        """Whether it is used with the values of the dimensions above it."""
        return all(
            key in values and values[key] in (wanted if isinstance(wanted, list) else [wanted])
            for key, wanted in self.when.items()
        )

    @cached_property
    def distribution(self) -> Any:
        """Optuna's, which keeps blocks as JSON. Raises ValueError where the range is none."""
        from optuna import distributions

        if self.type == "categorical":
            if not self.choices or (self.low, self.high, self.step) != (None, None, None):
                raise ValueError("takes choices, a list, and no range")
            return distributions.CategoricalDistribution(list(map(to_choice, self.choices)))
        if self.low is None or self.high is None or self.choices is not None:
            raise ValueError("takes low and high, and no choices")
        if self.type == "float":
            return distributions.FloatDistribution(self.low, self.high, self.log, self.step)
        numbers = [n for n in (self.low, self.high, self.step) if n is not None]
        if any(n != int(n) for n in numbers):
            raise ValueError("takes whole numbers")
        return distributions.IntDistribution(
            int(self.low), int(self.high), self.log, int(self.step or 1)
        )

    @property
    def all_values(self) -> list[Any]:
        """Those that a grid goes through. Raises ValueError where there is no end of them."""
        if self.choices is not None:
            return self.choices
        low, high, step = (getattr(self.distribution, name) for name in ("low", "high", "step"))
        if step is None or self.log:
            raise ValueError("a grid takes choices or a step")
        values = [low + n * step for n in range(round((high - low) / step) + 1)]
        return [round(value, 12) if self.type == "float" else value for value in values]

    @property
    def ends(self) -> list[Any]:
        """Values that stand for all when a config with them is checked."""
        if self.choices is not None:
            return self.choices
        return [self.distribution.low, self.distribution.high]


@dataclass
class Search:
    space: dict[str, Dimension]
    """What to search, by keys of the config such as optimizer.args.lr."""
    sampler: Part = field(default_factory=lambda: Part("TPESampler"))
    """A class in optuna.samplers; GridSampler takes every point once."""
    pruner: Part | None = None
    """A class in optuna.pruners, which ends trials early by the monitored value of each epoch."""

    @property
    def is_grid(self) -> bool:
        return self.sampler.type in GRIDS

    def points(self) -> list[Values]:
        """All points of a grid."""
        points: list[Values] = [{}]
        for key, dimension in self.space.items():
            points = [
                point | one
                for point in points
                for one in (
                    [{key: value} for value in dimension.all_values]
                    if dimension.applies(point)
                    else [{}]
                )
            ]
        return points


def to_choice(value: Any) -> Any:
    """A value of the config as Optuna keeps it."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def read_search(path: Path, check: Callable[[Values], ConfigParser]) -> Search:
    """The search that a file describes; `check` makes the config of a point, and checks that.

    Raises UserError with a line for each mistake.
    """
    content = read_config(path)
    mistakes: list[Mistake] = []
    search: Search = read_value(Search, content, (), mistakes)
    if not mistakes:
        mistakes += list(mistakes_in(search))
    if not mistakes:
        mistakes += list(mistakes_in_configs(search, check))
    if mistakes:
        raise UserError("\n".join(f"{path}: {'.'.join(at)}{text}" for at, text in mistakes))
    return search


def mistakes_in(search: Search) -> Iterator[Mistake]:
    """What is wrong with the file alone."""
    from optuna import pruners, samplers

    if not search.space:
        yield Mistake(("space",), ": has no dimension")
    above: list[str] = []
    for key, dimension in search.space.items():
        path: Keys = ("space", key)
        if key == "seed":
            yield Mistake(path, ": is no dimension; sweep.py --seeds N takes several")
        try:
            assert dimension.distribution is not None
            if search.is_grid:
                assert dimension.all_values
        except ValueError as error:
            yield Mistake(path, f": {one_line(error)}")
        for other in dimension.when:
            if other not in above:
                hint = nearest(other, above) if above else "it is the first"
                yield Mistake((*path, "when", other), f": is no dimension above; {hint}")
        above.append(key)
    if not search.is_grid:
        yield from check_part(("sampler",), search.sampler, [samplers])
    if search.pruner is not None:
        yield from check_part(("pruner",), search.pruner, [pruners])


def mistakes_in_configs(
    search: Search, check: Callable[[Values], ConfigParser]
) -> Iterator[Mistake]:
    """What no config can have: each end of each dimension is tried, with what it depends on."""
    for key, dimension in search.space.items():
        for value in dimension.ends:
            point = copy.deepcopy(first_that_allows(search, key)) | {key: value}
            try:
                check(point)
            except UserError as error:
                text = str(error).partition("\n")[0].partition(": ")[2]
                inside = text.removeprefix(key)
                is_own = inside != text and inside[:1] in (" ", ":", ".")
                yield Mistake(("space", key), inside if is_own else f" = {value!r}: {text}")
                break


def first_that_allows(search: Search, key: str) -> Values:
    """Values of the dimensions that the one under `key` depends on."""
    needed: Values = {}
    for other, wanted in search.space[key].when.items():
        needed |= first_that_allows(search, other)
        needed[other] = wanted[0] if isinstance(wanted, list) else wanted
    return needed


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def differences(before: Any, now: Any) -> Iterable[tuple[str, Any, Any]]:
    """The keys at which two plain values differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            for path, old, new in differences(before.get(key), now.get(key)):
                yield f"{key}.{path}".rstrip("."), old, new
    elif before != now:
        yield "", before, now
