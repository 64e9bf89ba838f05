"""Runs that differ in their seed or fold alone: mean, standard deviation, and what they prove.

`python -m tools.groups` shows the groups of all runs that are over; a folder may follow.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from math import atan, cos, pi, sin, sqrt
from operator import getitem
from statistics import fmean, stdev
from typing import Any

from runs import Run, find_runs
from utils.check import flat
from utils.command_line import CommandLine, exit_on_user_error
from utils.files import find_file, read_json

FREE = ("seed", "data_loader.args.fold")  # keys in which the runs of a group differ
UNCOUNTED = ("$schema", "trainer.save_dir", "trainer.verbosity")
Case = tuple[Any, Any]  # seed and fold; the fold is None where there is none


@dataclass
class Group:
    """The values of its runs, by (seed, fold)."""

    key: Any
    values: dict[Case, float]

    @property
    def mean(self) -> float:
        return fmean(self.values.values())

    @property
    def std(self) -> float | None:
        """The standard deviation of a sample; None for a single run."""
        return stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def shown(self) -> str:
        return f"{self.mean:.4g}" + (f" ± {self.std:.2g}" if self.std is not None else "")


@exit_on_user_error()
def main(argv: list[str] | None = None) -> None:
    """Print the groups, for each monitored value apart."""
    parser = CommandLine(__doc__)
    parser.add_argument("dir", nargs="?", default="saved", help="where the runs are")
    over = [
        one
        for one in find_runs(find_file(parser.parse_args(argv).dir))
        if one.status in ("finished", "stopped early") and one.best
    ]
    for mode, name in dict.fromkeys((one.mode, one.monitor) for one in over):
        alike = [one for one in over if (one.mode, one.monitor) == (mode, name)]
        groups = ranked(groups_of(alike, name), mode)
        configs = [dict(group.key) for group in groups]
        keys = dict.fromkeys(key for config in configs for key in config)
        differing = [key for key in keys if len({config.get(key) for config in configs}) > 1]
        rows = [
            {f"{mode} {name}": group.shown, "n": len(group.values), "p": p}
            | {key: config.get(key) for key in differing}
            for group, config, p in zip(groups, configs, [None, *p_values(groups)], strict=True)
        ]
        print(as_text(rows))


def groups_of(runs: Sequence[Run], name: str) -> list[Group]:
    """By what the configs of runs share; of two with the same seed and fold, the later counts."""
    found: dict[Any, Group] = {}
    for one in runs:
        config = flat(as_written(one))
        case = config.get("seed"), config.get("data_loader.args.fold")
        key = tuple((k, repr(v)) for k, v in config.items() if k not in FREE + UNCOUNTED)
        found.setdefault(key, Group(key, {})).values[case] = one.best[name]
    return list(found.values())


def as_written(one: Run) -> dict[str, Any]:
    """The config of a run, with "${data...}" again for what its own data have told."""
    config = deepcopy(one.config)
    path = one.path / "from_data.json"
    for keys, value in read_json(path) if path.exists() else []:
        reduce(getitem, keys[:-1], config)[keys[-1]] = value
    return config


def ranked(groups: Sequence[Group], mode: str) -> list[Group]:
    """The best first."""
    return sorted(groups, key=lambda group: group.mean, reverse=mode == "max")


def p_values(groups: Sequence[Group]) -> list[float | None]:
    """For each group but the first, how likely its difference to the first is chance.

    None for what no test is right for: groups that were not run with the same seeds and folds, or
    with fewer than five of them. The pairs are those of a seed, in a paired t-test; or those of a
    fold, the mean over its seeds, whose training data overlap: so the variance is corrected (Nadeau
    and Bengio, 2003). As the first was chosen by looking, all pairs of groups count (Bonferroni).
    """
    first, *others = groups
    n_pairs = len([*combinations(groups, 2)])
    found = [paired_p(first, other) for other in others]
    return [None if p is None else min(1.0, p * n_pairs) for p in found]


def paired_p(a: Group, b: Group) -> float | None:
    """The two-sided p of a paired t-test, corrected where the pairs are folds."""
    if a.values.keys() != b.values.keys():
        return None
    has_folds = any(fold is not None for _, fold in a.values)
    pairs: dict[Any, list[float]] = {}
    for (seed, fold), value in a.values.items():
        pairs.setdefault(fold if has_folds else seed, []).append(value - b.values[seed, fold])
    differences = [fmean(values) for values in pairs.values()]
    if (n := len(differences)) < 5:
        return None
    overlap = 1 / (n - 1) if has_folds else 0.0  # validation samples for each of training
    if (deviation := stdev(differences)) == 0:
        return None
    return two_sided(fmean(differences) / (deviation * sqrt(1 / n + overlap)), n - 1)


def two_sided(t: float, df: int) -> float:
    """How likely Student's t with whole degrees of freedom is at least as far from 0."""
    angle = atan(abs(t) / sqrt(df))
    term, total = (1.0, 0.0) if df % 2 == 0 else (cos(angle), 0.0)
    for k in range(1 + df % 2, df, 2):
        total += term
        term *= cos(angle) ** 2 * k / (k + 1)
    if df % 2 == 0:
        return 1 - sin(angle) * total
    return 1 - 2 / pi * (angle + sin(angle) * total)


def columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The names of all columns that have a value."""
    names = dict.fromkeys(key for row in rows for key in row)
    return [key for key in names if any(row.get(key) is not None for row in rows)]


def shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """The rows with their heading, in columns."""
    names = columns(rows)
    lines = [names] + [[shown(row.get(name)) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


if __name__ == "__main__":
    main()
