"""Write a page for any browser: about a run, in its directory, or about all runs in a folder.

python report.py saved/<name>/<run_id>               report.html, and its pictures in report/
python report.py saved                               runs.html: a table and the curves of all
"""

import json
import shlex
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from runs import find_runs, table_of
from tools.drawing import (
    TRAINING,
    VALIDATION,
    colors_for,
    embedded,
    new_figure,
    note,
    page,
    png_of,
    preformatted,
    table,
)
from tools.history import RecordedRun, duration
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import UserError, in_one_line
from utils.files import atomic_write, find_file
from utils.run_dir import is_run

# torch is imported where predictions are looked at, so that --help does not wait for it

SAMPLES = 2000  # of the validation data are looked at, unless --samples says otherwise


def write(run_dir: Path, samples: int = SAMPLES) -> Path:
    """Write the page; its path.

    Raises UserError where `run_dir` is not that of a run, or no epoch of the run is done.
    """
    run = RecordedRun(run_dir)
    if not run.rows:
        raise UserError(f"{run_dir}: no epoch is done yet")
    pictures = {"curves": draw_curves(run), "schedule": draw_schedule(run)}
    about, more = look_at_predictions(run, samples)
    pictures |= more
    sections = [
        ("Result", table(summary(run))),
        ("Curves", embedded(pictures["curves"], "curves of training and validation")),
        ("Learning rate and time", embedded(pictures["schedule"], "learning rate, seconds")),
        ("Predictions", note(about) + "".join(embedded(png, name) for name, png in more.items())),
        ("Reproduce", preformatted(how_to_repeat(run))),
        ("Config", preformatted(json.dumps(run.config, indent=2, ensure_ascii=False))),
        ("Environment", preformatted(json.dumps(run.starts, indent=2, ensure_ascii=False))),
    ]
    (run.path / "report").mkdir(exist_ok=True)
    for name, png in pictures.items():
        with atomic_write(run.path / "report" / f"{name}.png", "wb") as file:
            file.write(png)
    with atomic_write(run.path / "report.html") as file:
        file.write(page(run.name, sections))
    return run.path / "report.html"


def summary(run: RecordedRun) -> Iterator[tuple[str, str]]:
    """Rows of the first table: a name and a value each."""
    name = run.monitor
    yield "status", f"{run.status} {run.reason}"
    yield "epochs", f"{run.epochs} of {run.config['trainer']['epochs']}"
    if run.best:
        yield f"best {name}", f"{float(run.best[name]):.4g} in epoch {run.best['epoch']:.0f}"
        for key, value in run.best.items():
            if key.startswith("val_") and key != name and value != "":
                yield f"{key} then", f"{float(value):.4g}"
    if run.seconds:
        yield "time", f"{duration(run.seconds)}, {run.seconds / run.epochs:.3g} s an epoch"
    if run.data_waits:
        last = run.data_waits[-1]
        yield "waiting for data", f"{last['share']:.0%} of the last epoch{last['advice']}"
    if run.starts:
        start = run.starts[-1]
        yield "device", start["device"]
        yield "started", " and ".join(one["time"] for one in run.starts)


def draw_curves(run: RecordedRun) -> bytes:
    """A PNG of all values by epoch, those of training and validation in one picture."""
    names = [key for key in run.rows[0] if is_curve(run, key)]
    names = list(dict.fromkeys(name.removeprefix("val_") for name in names))
    figure, grid = new_figure(len(names))
    for axes, name in zip(grid, names, strict=True):
        for key, words, color in (
            (name, "training", TRAINING),
            (f"val_{name}", "validation", VALIDATION),
        ):
            plot(axes, run, key, label=words, color=color)
        mark(axes, run)
        axes.set(title=name, xlabel="epoch")
    grid[0].legend()
    return png_of(figure)


def is_curve(run: RecordedRun, key: str) -> bool:
    is_number = any(isinstance(row.get(key), float) for row in run.rows)
    return is_number and key != "epoch" and not is_rate(key)


def is_rate(key: str) -> bool:
    return key == "lr" or key.startswith("lr_")


def plot(axes: Any, run: RecordedRun, key: str, **looks: Any) -> None:
    points = [(row["epoch"], row[key]) for row in run.rows if isinstance(row.get(key), float)]
    if points:
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else "", **looks)


def mark(axes: Any, run: RecordedRun) -> None:
    """Where the best epoch was, and the end if it came early."""
    if run.best:
        axes.axvline(run.best["epoch"], color="green", linestyle=":", label="best")
    if run.status == "stopped early":
        axes.axvline(run.epochs, color="gray", linestyle="--", label="stopped early")


def draw_schedule(run: RecordedRun) -> bytes:
    """A PNG of the learning rates and of the time that epochs took."""
    rates = [key for key in run.rows[-1] if is_rate(key)]
    figure, [left, right] = new_figure(2, width=6.3)
    for key in rates:
        plot(left, run, key, label=key)
    left.set(title="learning rate", xlabel="epoch")
    if len(rates) > 1:
        left.legend()
    if run.epoch_seconds:
        right.bar(run.epoch_seconds.keys(), run.epoch_seconds.values(), color="#9ecae1")
    right.set(title="seconds in an epoch", xlabel="epoch")
    return png_of(figure)


def look_at_predictions(run: RecordedRun, samples: int) -> tuple[str, dict[str, bytes]]:
    """A sentence and pictures of what the best model makes of validation data."""
    paths = [run.path / name for name in ("model_best.pth", "last.pth")]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return "There is no checkpoint whose predictions could be shown.", {}
    try:
        from tools.predictions import look

        return look(path, samples)
    except Exception as error:  # data or a model of another kind; the curves are worth a page
        return f"{path.name}: no predictions to show: {in_one_line(error)}", {}


def how_to_repeat(run: RecordedRun) -> str:
    """The commands that make this run again, as far as its records tell."""
    lines = []
    if run.starts and (commit := run.starts[0].get("git_commit")):
        lines.append(f"git checkout {commit}")
        if diff := run.starts[0].get("git_diff"):
            lines.append(f"git apply {shlex.quote(str(run.path / diff))}")
    lines.append(f"python train.py -c {shlex.quote(str(run.path / 'config.json'))}")
    if len(run.starts) > 1:
        lines.append(f"# It was stopped and resumed: {len(run.starts)} starts, see Environment")
    return "\n".join(lines)


def write_all(folder: Path) -> Path:
    """Write the page about all runs in a folder; its path. Raises UserError where it has none."""
    runs = [RecordedRun(run.path) for run in find_runs(folder)]
    if not runs:
        raise UserError(f"{folder}: is not the directory of a run, and there is none in it")
    head, *rows = table_of(runs)
    times = [duration(run.seconds) if run.seconds else "" for run in runs]
    cells = [[*row, time] for row, time in zip(rows, times, strict=True)]
    sections = [(f"Runs: {len(runs)}", table(cells, [*head, "time"]))]
    if curves := [run for run in runs if run.rows]:
        png, colors = draw_all(curves)
        legend = "".join(
            f'<span class="run"><b style="color: {color}">&#9632;</b> {escape(run.name)}</span> '
            for run, color in zip(curves, colors, strict=True)
        )
        sections += [("Curves", f"<p>{legend}</p>" + embedded(png, "the curves of all runs"))]
    path = folder / "runs.html"
    if path.exists() and "<title>Runs</title>" not in path.read_text("utf-8", errors="replace"):
        raise UserError(f"{path}: is there already, and no page of runs")
    with atomic_write(path) as file:
        file.write(page("Runs", sections))
    return path


def draw_all(runs: list[RecordedRun]) -> tuple[bytes, list[str]]:
    """A PNG of the values of all runs, of validation where there is one, and a color for each."""
    colors = colors_for(len(runs))
    names = dict.fromkeys(k for run in runs for k, v in run.rows[-1].items() if type(v) is float)
    keys = [key for key in names if key != "epoch" and f"val_{key}" not in names]
    figure, grid = new_figure(len(keys))
    for axes, key in zip(grid, keys, strict=True):
        for run, color in zip(runs, colors, strict=True):
            points = [(row["epoch"], row[key]) for row in run.rows if type(row.get(key)) is float]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", color=color)
        axes.set(title=key, xlabel="epoch")
    return png_of(figure), colors


def main(argv: list[str] | None = None) -> None:
    """Read the command line, write the page, print its path."""
    parser = CommandLine(__doc__)
    parser.add_argument("run", type=find_file, help="the directory of a run, or of runs")
    parser.add_argument(
        "--samples", type=int, default=SAMPLES, help=f"of the validation data ({SAMPLES:,})"
    )
    with exit_on_user_error():
        args = parser.parse_args(argv)
        is_folder = args.run.is_dir() and not is_run(args.run)
        print(write_all(args.run) if is_folder else write(args.run, args.samples))


if __name__ == "__main__":
    main()
