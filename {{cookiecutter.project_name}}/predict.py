"""What a trained model says of new inputs, as CSV with a row for each.

python predict.py -r best data/mnist_5k.npz --array test_images     each entry of an array
python predict.py -r saved/<name>/<run_id>/model_best.pth a.png b.png -o predictions.csv
python predict.py -r best lines.txt table.csv                       each line; each row, as a dict

`prepare(sample)` of the data loader says what the model takes: see docs/runs.md.
"""

import csv
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

from parse_config import ConfigParser
from test import build_trained
from train import part_modules
from utils.check import look_up
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import UserError, in_one_line
from utils.files import atomic_write


def samples_in(path: Path, array: str | None) -> list[tuple[str, Any]]:
    """The samples in a file, with their names."""
    kind = path.suffix.lower()
    if kind in (".txt", ".csv"):
        with path.open(encoding="utf-8-sig") as file:
            samples = [*csv.DictReader(file)] if kind == ".csv" else [x.rstrip("\n") for x in file]
    elif kind in (".npy", ".npz"):
        import numpy as np

        samples = np.load(path)
        if kind == ".npz":
            with samples as arrays:
                array = array or (arrays.files[0] if len(arrays.files) == 1 else "")
                if array not in arrays:
                    raise ValueError(f"choose one of its arrays with --array: {', '.join(arrays)}")
                samples = arrays[array]
    else:
        from PIL import Image

        with Image.open(path) as image:
            return [(str(path), image.copy())]
    return [(f"{path}[{index}]", sample) for index, sample in enumerate(samples)]


def inputs_in(paths: list[str], array: str | None, prepare: Any) -> Iterator[tuple[str, Any]]:
    """What the model takes for each sample in the files, with its name."""
    for path in paths:
        name = path
        try:
            for name, sample in samples_in(Path(path), array):
                yield name, prepare(sample)
        except Exception as error:  # what is raised for a damaged file depends on the damage
            raise UserError(f"{name}: {in_one_line(error)}") from error


def predict(config: Any, args: Any) -> Iterator[dict[str, Any]]:
    """A row of the table for each sample."""
    import torch
    from torch.utils.data import default_collate

    from base.base_data_loader import to_device

    device, model, criterion, _, _ = build_trained(config)
    part = config.settings.data_loader
    loader = look_up(part.type, part_modules()["data_loader"])
    if not hasattr(loader, "prepare"):
        raise UserError(f"{part.type} has no static method 'prepare(sample)': see docs/runs.md")
    options = {k: v for k, v in part.args.items() if k in signature(loader.prepare).parameters}
    samples = inputs_in(args.inputs, args.array, lambda one: loader.prepare(one, **options))
    while batch := [*islice(samples, part.args.get("batch_size", 64))]:
        names, inputs = zip(*batch, strict=True)
        try:
            data = to_device(getattr(loader, "collate", default_collate)([*inputs]), device)
            with torch.inference_mode():
                outputs = model(*data) if isinstance(inputs[0], tuple) else model(data)
        except RuntimeError as error:  # of shapes that do not fit each other or the model
            raise UserError(f"{names[0]} to {names[-1]}: {in_one_line(error)}") from error
        columns = columns_of(outputs, config, criterion, getattr(loader, "classes", None))
        for values in zip(names, *columns.values(), strict=True):
            yield dict(zip(["input", *columns], values, strict=True))


def columns_of(outputs: Any, config: Any, criterion: Any, classes: Any) -> dict[str, Any]:
    """What the table has of a batch: of a dict the values, else what they mean by the task."""
    from utils.inferred import interpret

    task, columns = "none", {}
    if not isinstance(outputs, dict):
        task, values = interpret(config, criterion, outputs)
        outputs = {"output" if task in ("none", "regression") else "probability": values}
    for key, values in outputs.items():
        numbers = values.reshape(len(values), -1).T.cpu().numpy()
        labels = classes if classes and task.startswith("multi") else range(len(numbers))
        if values.ndim > 2 or len(labels) != len(numbers):
            what = f"outputs of {tuple(values.shape[1:])} are no {len(labels)} numbers in a row"
            raise UserError(f"{what}: let the model, in eval mode, give a dict of columns")
        if task == "multiclass":
            columns["class"] = [labels[index] for index in numbers.argmax(axis=0)]
            columns["probability"] = numbers.max(axis=0)
        for label, column in zip(labels, numbers, strict=True):
            columns[key if len(numbers) == 1 else f"{key}_{label}"] = column
    return columns


def main(argv: list[str] | None = None) -> None:
    """Read the command line, write the table."""
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="FILE", help="an image, .npy, .npz, .txt or .csv")
    add("-r", "--resume", required=True, metavar="CHECKPOINT", help="or auto, the newest; or best")
    add("-c", "--config", default="", metavar="FILE", help="config, JSON or YAML (that of the run)")
    add("-d", "--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    add("-o", "--output", metavar="FILE", help="where to write (the console)")
    add("--array", metavar="NAME", help="which array of an .npz with several")
    with exit_on_user_error():
        args = parser.parse_intermixed_args(argv)
        given = ["-r", args.resume, "-d", args.device, "-c", args.config]
        config = ConfigParser.from_args(CommandLine(None), argv=given, to_train=False)
        rows = [*predict(config, args)]
        try:
            opened: Any = open if (args.output or "")[:5] == "/dev/" else atomic_write
            with opened(args.output, "w") if args.output else nullcontext(sys.stdout) as file:
                writer = csv.DictWriter(file, rows[0] if rows else [], lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        except BrokenPipeError:  # of a `head` that has enough
            raise
        except OSError as error:
            raise UserError(f"{args.output or 'standard output'}: {error.strerror}") from None


if __name__ == "__main__":
    main()
