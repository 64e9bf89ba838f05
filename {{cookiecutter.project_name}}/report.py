"""Write a page about a run, for any browser: report.html in its directory, and its pictures.

python report.py saved/<name>/<run_id>
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parse_config import find_file
from tools.drawing import (
    TRAINING,
    VALIDATION,
    embedded,
    new_figure,
    note,
    page,
    png_of,
    preformatted,
    table,
)
from tools.history import Run, duration
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import UserError
from utils.files import atomic_write

# torch is imported where predictions are looked at, so that --help does not wait for it

SAMPLES = 2000  # of the validation data are looked at, unless --samples says otherwise


def write(run_dir: Path, samples: int = SAMPLES) -> Path:
    """Write the page; its path.

    Raises UserError where `run_dir` is not that of a run, or no epoch of the run is done.
    """
    run = Run(run_dir)
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


def summary(run: Run) -> Iterator[tuple[str, str]]:
    """Rows of the first table: a name and a value each."""
    mode, name = run.monitor
    yield "status", f"{run.status} {run.reason}"
    yield "epochs", f"{run.epochs} of {run.config['trainer']['epochs']}"
    if run.best:
        yield f"best {name}", f"{run.best[name]:.4g} in epoch {run.best['epoch']:.0f}"
        for key, value in run.best.items():
            if key.startswith("val_") and key != name:
                yield f"{key} then", f"{value:.4g}"
    if run.seconds:
        yield "time", f"{duration(run.seconds)}, {run.seconds / run.epochs:.3g} s an epoch"
    if run.starts:
        start = run.starts[-1]
        yield "device", start["device"]
        yield "started", " and ".join(one["time"] for one in run.starts)


def draw_curves(run: Run) -> bytes:
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


def is_curve(run: Run, key: str) -> bool:
    is_number = any(isinstance(row.get(key), float) for row in run.rows)
    return is_number and key != "epoch" and not is_rate(key)


def is_rate(key: str) -> bool:
    return key == "lr" or key.startswith("lr_")


def plot(axes: Any, run: Run, key: str, **looks: Any) -> None:
    points = [(row["epoch"], row[key]) for row in run.rows if isinstance(row.get(key), float)]
    if points:
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else "", **looks)


def mark(axes: Any, run: Run) -> None:
    """Where the best epoch was, and the end if it came early."""
    if run.best:
        axes.axvline(run.best["epoch"], color="green", linestyle=":", label="best")
    if run.status == "stopped early":
        axes.axvline(run.epochs, color="gray", linestyle="--", label="stopped early")


def draw_schedule(run: Run) -> bytes:
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


def look_at_predictions(run: Run, samples: int) -> tuple[str, dict[str, bytes]]:
    """A sentence and pictures of what the best model makes of validation data."""
    paths = [run.path / name for name in ("model_best.pth", "last.pth")]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return "There is no checkpoint whose predictions could be shown.", {}
    try:
        from tools.predictions import look

        return look(path, samples)
    except Exception as error:  # data or a model of another kind; the curves are worth a page
        return f"{path.name}: no predictions to show: {type(error).__name__}: {error}", {}


def how_to_repeat(run: Run) -> str:
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


def main(argv: list[str] | None = None) -> None:
    """Read the command line, write the page, print its path."""
    parser = CommandLine(__doc__)
    parser.add_argument("run", type=find_file, help="the directory of a run")
    parser.add_argument(
        "--samples", type=int, default=SAMPLES, help=f"of the validation data ({SAMPLES:,})"
    )
    args = parser.parse_args(argv)
    with exit_on_user_error():
        print(write(args.run, args.samples))


if __name__ == "__main__":
    main()
