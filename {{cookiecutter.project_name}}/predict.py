"""What a trained model says of new inputs: classes and probabilities, or plain values.

python predict.py -r saved/<name>/<run_id>/model_best.pth digit.png pictures/
python predict.py -r saved/<name>/<run_id>/model_best.pth digits.npy -o predictions.json
python predict.py -r best digit.png                       with the best model of the last run

What the model takes for a picture or the entry of an array is said by `prepare` of the data loader.
"""

import argparse
import csv
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from parse_config import ConfigParser, default_config, find_file
from train import build_model, part_modules
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import UserError
from utils.extras import for_one_process, positive
from utils.files import atomic_write

if TYPE_CHECKING:
    import torch
    from torch import nn

Row = dict[str, Any]  # what is said of one input
Classes = tuple[str, ...]
ARRAYS = (".npy", ".npz")
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def load(
    path: str | Path, device: str
) -> "tuple[nn.Module, torch.device, Callable[..., Any], Classes | None]":
    """The model of a checkpoint, its device, what prepares a sample, and the names of classes.

    Raises UserError where the checkpoint has no config.
    """
    from utils import checkpoint
    from utils.lookup import look_up
    from utils.newest import NAMES, find_named

    if path in NAMES:
        path = find_named(ConfigParser.from_file(default_config()), str(path)) or path
        print(f"{path} is taken", file=sys.stderr)
    path = find_file(path)
    state = checkpoint.load(path)
    if not state["config"]:
        raise UserError(f"{path}: has no config in it, which says how to build the model")
    config = ConfigParser(state["config"], modification={"device": device}, source=path)
    chosen, model, _, _ = build_model(config)
    checkpoint.set_weights(model, checkpoint.weights_to_use(state), path)
    part = config.settings.data_loader
    loader = look_up(part.type, part_modules()["data_loader"])
    prepare = getattr(loader, "prepare", take_as_it_is)
    wanted = inspect.signature(prepare).parameters
    args = {name: value for name, value in part.args.items() if name in wanted}
    return model.eval(), chosen, partial(prepare, **args), getattr(loader, "classes", None)


def take_as_it_is(sample: Any) -> "torch.Tensor":
    """For a data loader without `prepare`: the entry of an array, with floats of 32 bits."""
    import torch

    if hasattr(sample, "convert"):
        raise UserError("the data loader has no 'prepare', which images need: see docs/using.md")
    try:
        tensor = torch.as_tensor(sample)
    except TypeError as error:
        raise ValueError(error) from None
    return tensor.float() if tensor.is_floating_point() else tensor


def find_files(inputs: Iterable[str]) -> Iterator[Path]:
    """The files among the inputs, and all images and arrays in the folders among them."""
    for path in map(Path, inputs):
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in (*ARRAYS, *IMAGES))
        yield from found or [path]


def read(path: Path, array_name: str | None) -> list[tuple[str, Any]]:
    """Pairs of a name and a picture or array in a file. Raises ValueError where there are none."""
    if path.is_dir():
        raise ValueError("no images or arrays in it")
    is_array = path.suffix.lower() in ARRAYS
    try:
        content = _read_array(path, array_name) if is_array else _read_image(path)
    except UserError:
        raise
    except Exception as error:  # what is raised for a damaged file depends on the damage
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ValueError(reason) from None
    if is_array:
        return [(f"{path}[{index}]", sample) for index, sample in enumerate(content)]
    return [(str(path), content)]


def _read_array(path: Path, name: str | None) -> Any:
    import numpy as np

    content = np.load(path)
    if path.suffix.lower() == ".npz":
        names = ", ".join(content)
        name = name or names
        if name not in content:
            raise ValueError(f"choose one of its arrays with --array: {names}")
        content = content[name]
    if content.ndim == 0:
        raise ValueError("a single number, not an array of samples")
    return content


def _read_image(path: Path) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise UserError("images are read with Pillow: pip install pillow") from None
    with Image.open(path) as image:
        image.load()
    return image


def prepare_all(
    inputs: Iterable[str], array_name: str | None, prepare: Callable[..., Any], skipped: list[str]
) -> Iterator[tuple[str, Any]]:
    """Pairs of a name and a sample as the model takes it.

    What is bad is named and added to `skipped`; after an entry of an array, the next file follows.
    """
    for path in find_files(inputs):
        name = str(path)
        try:
            for name, sample in read(path, array_name):
                yield name, prepare(sample)
        except UserError:
            raise
        except ValueError as error:
            print(f"{name}: skipped: {error}", file=sys.stderr)
            skipped.append(name)


def predict(
    model: "nn.Module",
    device: "torch.device",
    samples: Iterable[tuple[str, Any]],
    batch_size: int,
) -> "Iterator[tuple[str, torch.Tensor]]":
    """Pairs of a name and what the model gives for that sample.

    Raises UserError where the samples do not fit the model or the output is not one tensor.
    """
    import torch
    from torch.utils.data import default_collate

    from base.base_data_loader import to_device

    samples = iter(samples)
    while batch := list(islice(samples, batch_size)):
        names, inputs = zip(*batch, strict=True)
        try:
            with torch.inference_mode():
                outputs = model(to_device(default_collate(list(inputs)), device))
        except RuntimeError as error:  # of shapes that do not fit each other or the model
            reason = str(error).partition("\n")[0]
            raise UserError(f"{names[0]} to {names[-1]}: {reason}") from error
        if not isinstance(outputs, torch.Tensor):
            raise UserError(f"the model gives a {type(outputs).__name__}, not one tensor")
        yield from zip(names, outputs.cpu(), strict=True)


def describe(name: str, output: "torch.Tensor", classes: Classes | None) -> Row:
    """A row of the table. Raises UserError where there are not as many outputs as classes."""
    if classes is None:
        return {"input": name, "output": output.tolist()}
    if output.shape != (len(classes),):
        found = f"{len(classes)} classes of the data loader, but outputs of {tuple(output.shape)}"
        raise UserError(found)
    probabilities = [round(one, 6) for one in output.float().softmax(dim=0).tolist()]
    best = int(output.argmax())
    return {
        "input": name,
        "class": classes[best],
        "probability": probabilities[best],
        "probabilities": dict(zip(classes, probabilities, strict=True)),
    }


def write_json(rows: Iterable[Row], file: IO[str]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    file.write("[\n" + ",\n".join(lines) + "\n]\n")


def write_csv(rows: Iterable[Row], file: IO[str]) -> None:
    flat = map(flatten, rows)
    first = next(flat)
    writer = csv.DictWriter(file, first, lineterminator="\n")
    writer.writeheader()
    writer.writerows(chain([first], flat))


def flatten(row: Row) -> Row:
    """The row with a column for each class or number."""
    *plain, (key, value) = row.items()
    if isinstance(value, dict):
        return dict(plain) | {f"p_{name}": one for name, one in value.items()}
    if not isinstance(value, list):
        return row
    if any(isinstance(one, list) for one in value):
        raise UserError("outputs of several dimensions do not fit into CSV: take --format json")
    return dict(plain) | {f"{key}_{number}": one for number, one in enumerate(value)}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="an image, .npy or .npz, or a folder of them")
    add("-r", "--resume", required=True, metavar="CHECKPOINT", help="the trained model")
    add("-d", "--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    add("-o", "--output", type=Path, metavar="FILE", help="where to write (the console)")
    add("--format", choices=["csv", "json"], help="by the name of FILE, else csv")
    add("--array", metavar="NAME", help="which array of an .npz with several")
    add("--batch-size", default="64", metavar="N", help="inputs at once (64)")
    return parser.parse_args(argv)


def write(rows: Iterable[Row], path: Path | None, form: str | None) -> None:
    """Write rows to a file, which is there only when it is complete, or to the console."""
    form = form or (path.suffix[1:] if path else "csv")
    write_rows = write_json if form == "json" else write_csv
    try:
        with atomic_write(path) if path else nullcontext(sys.stdout) as file:
            write_rows(rows, file)
    except OSError as error:
        raise UserError(f"{path or 'output'}: cannot be written: {error.strerror}") from None


def main(argv: list[str] | None = None) -> None:
    """Read the command line, write a row for each input."""
    args = parse(argv)
    skipped: list[str] = []
    with exit_on_user_error():
        for_one_process("predict.py")
        batch_size = positive(args.batch_size, "--batch-size")
        model, device, prepare, classes = load(args.resume, args.device)
        samples = prepare_all(args.inputs, args.array, prepare, skipped)
        outputs = predict(model, device, samples, batch_size)
        rows = (describe(name, output, classes) for name, output in outputs)
        if not (first := next(rows, None)):
            raise UserError("none of the inputs could be used")
        write(chain([first], rows), args.output, args.format)
    if skipped:
        sys.exit(1)


if __name__ == "__main__":
    main()
