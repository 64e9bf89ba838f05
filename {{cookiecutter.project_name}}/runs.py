"""List the runs, with what differs between their configs.

python runs.py                                       all under saved/, the newest last
python runs.py status=finished arch.type=Mnist*      those of them that fit; any key of the config
python runs.py --sort best                           the best last; time, epochs or any key too
python runs.py --html runs.html                      the table and all curves, for any browser
python runs.py status=failed --delete                delete those listed, once you say yes
"""

import shutil
import textwrap
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from html import escape
from typing import Any

from parse_config import find_file
from tools.history import Run, duration, find_runs, flat
from utils.check import nearest
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import UserError
from utils.extras import add_flags, chosen_flag
from utils.files import atomic_write

Row = dict[str, Any]  # of the table: {column: value}
LEAVE_OUT = ("$schema", "trainer.save_dir", "trainer.verbosity")  # of the keys that are compared


def rows_of(runs: list[Run]) -> list[Row]:
    """What the table has about each run."""
    configs = [flat(run.config) for run in runs]
    names = dict.fromkeys(name for config in configs for name in config if name not in LEAVE_OUT)
    differing = [name for name in names if len({repr(one.get(name)) for one in configs}) > 1]
    rows = []
    for run, config in zip(runs, configs, strict=True):
        best = run.best or {}
        row: Row = {"run": run.name, "status": run.status, "monitor": run.monitor[1]}
        row |= {"best": best.get(run.monitor[1]), "at": int(best["epoch"]) if best else None}
        row |= {"epochs": run.epochs, "time": run.seconds}
        rows.append(row | {name: config.get(name) for name in differing})
    return rows


def fitting(runs: list[Run], conditions: Iterable[str]) -> list[Run]:
    """The runs for which all of the KEY=PATTERN hold. Raises UserError for a key that none has."""
    left = [(run, {"run": run.name, "status": run.status} | flat(run.config)) for run in runs]
    names = list(dict.fromkeys(name for _, known in left for name in known))
    for condition in conditions:
        key, equals, pattern = condition.partition("=")
        if not equals:
            raise UserError(f"command line: {condition!r} is not KEY=VALUE, as in status=finished")
        if runs and key not in names:
            raise UserError(f"command line: {key}: no run has this key; {nearest(key, names)}")
        left = [pair for pair in left if fnmatchcase(shown(pair[1].get(key)), pattern)]
    return [run for run, _ in left]


def sort_rows(pairs: list[tuple[Run, Row]], key: str) -> list[tuple[Run, Row]]:
    """By a column of (run, row), the best value last, and those without a value first.

    Raises UserError where there is no such column.
    """
    if not any(key in row for _, row in pairs):
        there = ", ".join(columns_of(row for _, row in pairs))
        raise UserError(f"command line: --sort {key}: no such column; there are {there}")

    def place(pair: tuple[Run, Row]) -> tuple[bool, bool, Any]:
        run, row = pair
        value: Any = row.get(key)
        is_number = isinstance(value, (int, float))
        if key == "best" and is_number and run.monitor[0] == "min":
            value = -value
        return (value is not None, is_number, value if is_number else str(value))

    return sorted(pairs, key=place)


def shown(value: Any, column: str = "") -> str:
    if value is None:
        return "" if column else "null"
    if column == "time":
        return duration(value) if value else ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else textwrap.shorten(str(value), 40)


def columns_of(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def as_text(rows: list[Row]) -> str:
    """The rows with their heading, in columns."""
    columns = columns_of(rows)
    lines = [columns] + [[shown(row.get(name), name) for name in columns] for row in rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def write_html(runs: list[Run], rows: list[Row], path: str) -> None:
    """A page with the table, and the curves of all runs that have some."""
    from tools.drawing import embedded, page, table

    columns = columns_of(rows)
    cells = [[shown(row.get(name), name) for name in columns] for row in rows]
    sections = [(f"Runs: {len(runs)}", table(cells, columns))]
    if curves := [run for run in runs if run.rows]:
        png, colors = draw_curves(curves)
        legend = "".join(
            f'<span class="run"><b style="color: {color}">&#9632;</b> {escape(run.name)}</span> '
            for run, color in zip(curves, colors, strict=True)
        )
        sections += [("Curves", f"<p>{legend}</p>" + embedded(png, "the curves of all runs"))]
    with atomic_write(path) as file:
        file.write(page("Runs", sections))


def draw_curves(runs: list[Run]) -> tuple[bytes, list[str]]:
    """A PNG of the values of all runs, of validation where there is one, and a color for each."""
    from tools.drawing import colors_for, new_figure, png_of

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


def delete(runs: list[Run], answer: Callable[[str], str] = input) -> None:
    """Delete run directories, but for those that are at work, once the user agrees."""
    runs = [run for run in runs if run.status != "running"]
    try:
        agreed = answer(f"Delete these runs for good, {len(runs)} that do not run? [y/N] ")
    except EOFError:
        agreed = ""
    if agreed.strip().lower() in ("y", "yes"):
        for run in runs:
            shutil.rmtree(run.path)
            print(f"deleted: {run.path}")


def main(argv: list[str] | None = None) -> None:
    """Read the command line, print the table."""
    parser = CommandLine(__doc__)
    parser.add_argument("conditions", nargs="*", metavar="KEY=VALUE", help="only runs that fit")
    parser.add_argument("--dir", default="saved", help="where the runs are (the project's saved)")
    parser.add_argument("--sort", metavar="COLUMN", help="put the largest, or the best, last")
    parser.add_argument("--html", metavar="FILE", help="write a page with the curves too")
    parser.add_argument("--delete", action="store_true", help="delete those listed, if you agree")
    add_flags(parser, "RUNS_FLAG")
    args = parser.parse_intermixed_args(argv)
    with exit_on_user_error():
        folder = find_file(args.dir)
        runs = fitting(find_runs(folder), args.conditions)
        if not runs:
            print(f"No such run in {folder}" if args.conditions else f"No run in {folder}")
            return
        if show := chosen_flag(args, "RUNS_FLAG"):
            return show(runs)
        pairs = list(zip(runs, rows_of(runs), strict=True))
        if args.sort:
            pairs = sort_rows(pairs, args.sort)
        runs, rows = map(list, zip(*pairs, strict=True))
        print(as_text(rows))
        if args.html:
            write_html(runs, rows, args.html)
        if args.delete:
            delete(runs)


if __name__ == "__main__":
    main()
