"""What a sweep has found: a table, CSV files, a page with Optuna's plots, the best config."""

import csv
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tools import drawing
from tools.groups import Group, columns, p_values, ranked, shown
from tools.history import duration
from tools.plan import Plan
from tools.study import Study
from utils.errors import in_one_line
from utils.files import atomic_write, write_json

Row = dict[str, Any]
PLOTS = ("parallel_coordinate", "param_importances", "optimization_history")


class Results:
    """The trials of a study as they are now."""

    def __init__(self, plan: Plan, study: Study) -> None:
        self.plan, self.study, self.trials = plan, study, study.trials()
        self.mode, _, self.name = plan.config["trainer"]["monitor"].partition(" ")

    def groups(self) -> list[Group]:
        """The complete trials of a search, or the runs of all trials; the best first."""
        if self.plan.search is None:
            values = {key: x for trial in self.trials for key, x in values_of(trial).items()}
            return [Group("all", values)] if values else []
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return ranked([Group(trial.number, values_of(trial)) for trial in complete], self.mode)

    def table(self) -> list[Row]:
        """The best trial first, those without a result last; or all seeds and folds."""
        groups = self.groups()
        if self.plan.search is None:
            ends = [
                {"trial": one.key, self.name: one.shown, "n": len(one.values)} for one in groups
            ]
            return self.runs() + ends
        is_fair = self.plan.search.is_grid and groups  # no sampler went for the best of these
        ps = [None, *p_values(groups)] if is_fair else [None] * len(groups)
        rows: list[Row] = []
        for group, p in zip(groups, ps, strict=True):
            row = self.start_of(self.trials[group.key]) | {self.name: group.shown}
            rows.append(row | {"n": len(group.values), "state": "complete", "p": p})
        for trial in self.trials:
            if trial.state != TrialState.COMPLETE:
                row = self.start_of(trial) | {self.name: trial.value}
                rows.append(row | {"n": len(values_of(trial)), "state": state_of(trial), "p": None})
        return rows

    def runs(self) -> list[Row]:
        """A row for each training that is done, and for each trial that has not come to its end."""
        rows = []
        for trial in self.trials:
            start = self.start_of(trial)
            for run in runs_of(trial):
                row = start | {"seed": run["seed"], "fold": run["fold"], self.name: run["value"]}
                row |= {"epoch": run["epoch"], "epochs": run["epochs"], "run": run["run"]}
                rows.append(row | {"state": "complete"})
            if trial.state != TrialState.COMPLETE:
                rows.append(start | {self.name: trial.value, "state": state_of(trial)})
        return rows

    def start_of(self, trial: FrozenTrial) -> Row:
        """The number and the values, with None for those that are not used in this trial."""
        if self.plan.search is None:
            seed, fold = self.plan.cases[trial.number]
            return {"trial": trial.number, "seed": seed, "fold": fold}
        values = trial.user_attrs.get("params", {})
        return {"trial": trial.number, **{key: values.get(key) for key in self.plan.search.space}}

    @property
    def n_failed(self) -> int:
        return sum(state_of(trial).startswith("failed") for trial in self.trials)

    def progress(self) -> str:
        """A line: how many are done, what the best is, the time that is left."""
        states = Counter(state_of(trial).partition(":")[0] for trial in self.trials)
        n_done = sum(states[one] for one in ("complete", "pruned", "failed"))
        words = [f"{n_done} of {self.study.n_trials} trials"]
        words += [f"{states[one]} {one}" for one in ("pruned", "failed", "running") if states[one]]
        values = [
            (one.value, one.number) for one in self.trials if one.state == TrialState.COMPLETE
        ]
        if values:
            value, number = (min if self.mode == "min" else max)(values)
            words.append(f"best {self.name} {value:.4g} (trial {number})")
        spans = [
            one.datetime_complete - one.datetime_start
            for one in self.trials
            if one.datetime_complete and one.datetime_start
        ]
        if spans and states["running"]:
            mean = fmean(span / timedelta(seconds=1) for span in spans)
            left = mean * (self.study.n_trials - n_done) / states["running"]
            words.append(f"about {duration(left)} left")
        return ", ".join(words)

    def write(self, folder: Path) -> None:
        """runs.csv, table.csv, report.html and, of a search, best.json."""
        write_csv(folder / "runs.csv", self.runs())
        write_csv(folder / "table.csv", self.table())
        groups = self.groups()
        if self.plan.search is not None and groups:
            params = self.trials[groups[0].key].user_attrs["params"]
            write_json(self.plan.config_of(params).config, folder / "best.json")
        rows = self.table()
        cells = [[shown(row.get(name)) for name in columns(rows)] for row in rows]
        sections = [(self.progress(), drawing.table(cells, columns(rows)))]
        if self.plan.search is not None:
            sections += plots(self.study)
        with atomic_write(folder / "report.html") as file:
            file.write(drawing.page(f"Sweep {self.plan.name}", sections))


def runs_of(trial: FrozenTrial) -> list[Row]:
    """What is known of each training of a trial that is done, in their order."""
    found = [value for key, value in trial.user_attrs.items() if key.startswith("run ")]
    return sorted(found, key=lambda run: (run["seed"], run["fold"] or 0))


def values_of(trial: FrozenTrial) -> dict[tuple[Any, Any], float]:
    return {(run["seed"], run["fold"]): run["value"] for run in runs_of(trial)}


def state_of(trial: FrozenTrial) -> str:
    """In words, with the reason where it has failed."""
    error = trial.user_attrs.get("error")
    return f"failed: {error}" if error else trial.state.name.lower()


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, columns(rows), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def plots(study: Study) -> list[tuple[str, str]]:
    """Optuna's plots as sections of a page; one that cannot be drawn says why."""
    sections = []
    for name in PLOTS:
        title = name.replace("_", " ").replace("param ", "parameter ").capitalize()
        try:
            picture = drawing.embedded(draw(study, name), title)
        except Exception as error:  # such as a single trial, or no matplotlib
            picture = drawing.note(in_one_line(error))
        sections.append((title, picture))
    return sections


def draw(study: Study, name: str) -> bytes:
    """A PNG of one of Optuna's plots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as visualization

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that plots with matplotlib are experimental
        loaded = optuna.load_study(study_name=study.name, storage=study.storage)
        axes = getattr(visualization, f"plot_{name}")(loaded)
        file = BytesIO()
        axes.figure.savefig(file, format="png", dpi=100, bbox_inches="tight")
    pyplot.close("all")
    return file.getvalue()
