"""Write a trained model for use elsewhere, and compare what it gives there on held-out data.

python export.py -r saved/<name>/<run_id>/model_best.pth --to torch.export   for PyTorch alone
python export.py -r saved/<name>/<run_id>/model_best.pth --to onnx           for ONNX Runtime, say
python export.py -r saved/<name>/<run_id>/model_best.pth --to safetensors    weights and config

The batch size stays open. Without -o, the file is written beside the checkpoint.
"""

import json
import logging
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from parse_config import ConfigParser
from test import load
from train import build_model
from utils import distributed
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import RunError, UserError
from utils.files import atomic_write

if TYPE_CHECKING:
    import torch
    from torch import nn

Config = dict[str, Any]
Function = Callable[..., Any]  # takes and gives the same as the model
Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # of the model: positional and by name
TOLERANCE = 1e-4  # by how much of the largest output, or of 1 if that is more, any may differ


def write_torch_export(file: IO[bytes], model: "nn.Module", inputs: Inputs, config: Config) -> None:
    import torch

    program = torch.export.export(model, *inputs, dynamic_shapes=open_batch_size(inputs))
    torch.export.save(program, file, extra_files={"config.json": json.dumps(config)})


def read_torch_export(path: str) -> Function:
    import torch

    with open(path, "rb") as file:
        return torch.export.load(file).module()


def write_onnx(file: IO[bytes], model: "nn.Module", inputs: Inputs, config: Config) -> None:
    import torch

    args, kwargs = inputs
    shapes = open_batch_size(inputs).dynamic_shapes(model, args, kwargs)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about itself
        program = torch.onnx.export(
            model, args, kwargs=kwargs, dynamic_shapes=shapes, dynamo=True, verbose=False
        )
    assert program is not None  # so it is with dynamo=True
    proto = program.model_proto
    proto.metadata_props.add(key="config", value=json.dumps(config))
    file.write(proto.SerializeToString())


def read_onnx(path: str) -> Function:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*args: Any, **kwargs: Any) -> "list[torch.Tensor]":
        arrays = [tensor.numpy() for tensor in tensors_in((args, kwargs))]
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        return [torch.from_numpy(array) for array in outputs]

    return run


def write_safetensors(file: IO[bytes], model: "nn.Module", inputs: Inputs, config: Config) -> None:
    from safetensors.torch import save

    # Copies, as the format knows no weights that share their memory
    weights = {name: one.clone().contiguous() for name, one in model.state_dict().items()}
    file.write(save(weights, {"arch": type(model).__name__, "config": json.dumps(config)}))


def read_safetensors(path: str) -> Function:
    """The model as the file alone describes it."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        config = ConfigParser(json.loads(file.metadata()["config"]), source=path)
        weights = {name: file.get_tensor(name) for name in file.keys()}
    _, model, _, _ = build_model(config)
    model.load_state_dict(weights)
    return model.eval()


class Format(NamedTuple):
    suffix: str
    packages: list[str]
    write: "Callable[[IO[bytes], nn.Module, Inputs, Config], None]"
    """Writes to an open file, given the model, its inputs for some samples, and the config."""
    read: Callable[[str], Function]
    """What the file has."""


FORMATS = {
    "torch.export": Format(".pt2", [], write_torch_export, read_torch_export),
    "onnx": Format(".onnx", ["onnx", "onnxscript", "onnxruntime"], write_onnx, read_onnx),
    "safetensors": Format(".safetensors", ["safetensors"], write_safetensors, read_safetensors),
}


def tensors_in(value: Any) -> "list[torch.Tensor]":
    """All tensors in tuples, lists and dicts, in their order."""
    import torch
    from torch.utils._pytree import tree_leaves

    return [one for one in tree_leaves(value) if isinstance(one, torch.Tensor)]


def model_inputs(trainer: Any) -> Inputs:
    """What `valid_step` gives the model for a batch of held-out samples.

    Raises UserError where it does not call the model.
    """
    import torch

    calls: list[Inputs] = []
    hook = trainer.model.register_forward_pre_hook(
        lambda _, *inputs: calls.append(inputs), with_kwargs=True
    )
    trainer.model.eval()
    with torch.no_grad(), hook:
        trainer.valid_step(next(iter(trainer.data_loader)))
    if not calls:
        raise UserError("valid_step does not call the model itself, which is to be exported")
    return calls[0]


def first(n: int, inputs: Inputs) -> Inputs:
    """The first `n` samples."""
    import torch
    from torch.utils._pytree import tree_map_only

    return tree_map_only(torch.Tensor, lambda tensor: tensor[:n], inputs)


def open_batch_size(inputs: Inputs) -> Any:
    """What torch wants to be told: the first dimension of every tensor may be of any size."""
    import torch

    shapes = torch.export.ShapesCollection()
    for tensor in tensors_in(inputs):
        shapes[tensor] = {0: torch.export.Dim.DYNAMIC}
    return shapes


def largest_difference(model: Function, other: Function, inputs: Inputs) -> "torch.Tensor":
    """Between what two models give, as a part of the largest output, or of 1 if that is more."""
    import torch

    args, kwargs = inputs
    with torch.no_grad():
        outputs = model(*args, **kwargs), other(*args, **kwargs)
    differences = [
        (a.double() - b.double()).abs().max() / a.abs().max().clamp(min=1)
        for a, b in zip(*map(tensors_in, outputs), strict=True)
    ]
    return torch.stack(differences).max()  # NaN where one is


def write(
    file: IO[bytes], form: Format, model: "nn.Module", inputs: Inputs, config: Config
) -> float:
    """Write what is then read back and compared; the difference, for one sample and for all.

    Raises RunError where the model cannot be exported, or the difference is too large.
    """
    import torch

    try:
        form.write(file, model, first(2, inputs), config)
        file.flush()
        other = form.read(file.name)
        found = [largest_difference(model, other, some) for some in (first(1, inputs), inputs)]
    except OSError:
        raise
    except Exception as error:  # what is raised depends on the model
        reason = " ".join(str(error).split())[:500]
        raise RunError(f"{type(model).__name__} cannot be exported: {reason}") from error
    difference = torch.stack(found).max().item()
    if not difference <= TOLERANCE:
        raise RunError(f"not kept: its outputs differ by {difference:.1e}, allowed is {TOLERANCE}")
    return difference


def export(config: ConfigParser, to: str, path: Path) -> None:
    """Write the model of `config.resume` to `path`, or nothing if the file differs from it.

    Raises UserError where that cannot be done.
    """
    plain = {"compile": False, "precision": "fp32", "channels_last": False}  # as it runs anywhere
    settings = config.config | {"device": "cpu", "trainer": config["trainer"] | plain}
    on_cpu = ConfigParser(settings, config.resume, source=config.source)
    on_cpu.args = config.args
    trainer, _ = load(on_cpu)
    inputs = model_inputs(trainer)
    n_samples = len(tensors_in(inputs)[0])
    if n_samples < 2:
        raise UserError("an open batch size takes two samples: add data_loader.args.batch_size=2")
    known = config.config | {"task": task_of(trainer, inputs)}
    try:
        with atomic_write(path, "wb") as file:
            difference = write(file, FORMATS[to], trainer.model, inputs, known)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB for any batch size, read back")
    print(f"task: {known['task']}; the outputs are as the model gives them, see docs/using.md")
    print(
        f"largest difference {difference:.1e} on {n_samples} held-out samples, allowed {TOLERANCE}"
    )


def task_of(trainer: Any, inputs: Inputs) -> str:
    """What the outputs mean; "none" where that is not certain, or where they are not one tensor."""
    import torch

    from utils.inferred import interpret

    args, kwargs = inputs
    with torch.no_grad():
        outputs = trainer.model(*args, **kwargs)
    if not isinstance(outputs, torch.Tensor):
        return trainer.config["task"] or "none"
    return interpret(trainer.config, trainer.criterion, outputs)[0]


def check_packages(names: list[str], to: str) -> None:
    """Raises UserError where one of the packages that a format takes is missing."""
    for name in names:
        try:
            import_module(name)
        except ImportError:
            raise UserError(f"--to {to} takes {name}: pip install {' '.join(names)}") from None


def main(argv: list[str] | None = None) -> None:
    """Read the command line, write the file."""
    parser = CommandLine(__doc__)
    parser.add_argument("--to", choices=FORMATS, required=True, help="the format")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write")
    with exit_on_user_error():
        if distributed.world_size() > 1:
            raise UserError("export.py is for one process: start it with python, not with torchrun")
        config = ConfigParser.from_args(parser, argv=argv, to_train=False)
        if config.resume is None:
            raise UserError("command line: -r CHECKPOINT is missing: which model to export")
        form = FORMATS[config.args.to]
        check_packages(form.packages, config.args.to)
        export(config, config.args.to, config.args.output or config.resume.with_suffix(form.suffix))


if __name__ == "__main__":
    main()
