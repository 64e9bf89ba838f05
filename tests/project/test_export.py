"""What export.py writes gives, in the hands of other libraries, what the model gives."""

import json
import sys

import pytest
import torch

from export import main


@pytest.fixture
def trained(make_trainer):
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.train()
    return trainer


@pytest.fixture
def export(trained, capsys):
    """Run export.py on the checkpoint; the status, standard output and errors."""
    path = trained.checkpoint_dir / "model_best.pth"

    def run(*arguments):
        status = 0
        try:
            main(["-r", str(path), *map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def read_torch_export(path):
    return torch.export.load(path).module()


def read_onnx(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path)
    [only] = session.get_inputs()
    return lambda inputs: torch.from_numpy(session.run(None, {only.name: inputs.numpy()})[0])


def read_safetensors(path, model_class):
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["arch"] == model_class.__name__
    model = model_class(**json.loads(metadata["config"])["arch"]["args"])
    model.load_state_dict(load_file(path))
    return model.eval()


def task_in(file, to):
    if to == "onnx":
        import onnxruntime

        metadata = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    elif to == "safetensors":
        from safetensors import safe_open

        with safe_open(file, "pt") as content:
            metadata = content.metadata()
    else:
        extra = {"config.json": ""}
        torch.export.load(file, extra_files=extra)
        metadata = {"config": extra["config.json"]}
    return json.loads(metadata["config"])["task"]


@pytest.mark.parametrize("output", [[], ["-o", "exported"]], ids=["beside", "named"])
@pytest.mark.parametrize(
    ("to", "suffix"),
    [
        ("torch.export", "pt2"),
        ("safetensors", "safetensors"),
        pytest.param("onnx", "onnx", marks=pytest.mark.slow),
    ],
)
def test_others_read_what_was_written(to, suffix, output, export, trained, tmp_path, monkeypatch):
    for package in {"onnx": ["onnxscript", "onnxruntime"], "safetensors": ["safetensors"]}.get(
        to, []
    ):
        pytest.importorskip(package, reason=f"--to {to} takes {package}")
    monkeypatch.chdir(tmp_path)
    before = {*trained.checkpoint_dir.iterdir()}
    status, out, err = export("--to", to, *output)
    file = trained.checkpoint_dir / f"model_best.{suffix}"
    if output:
        (tmp_path / "exported").rename(file)
    assert (status, err) == (0, "") and {*trained.checkpoint_dir.iterdir()} == {*before, file}
    assert "held-out samples, allowed 0.0001" in out
    if to == "safetensors":
        exported = read_safetensors(file, type(trained.model))
    else:
        exported = {"torch.export": read_torch_export, "onnx": read_onnx}[to](file)
    assert task_in(file, to) == "multiclass" and "task: multiclass; the outputs are" in out
    inputs, _ = next(iter(trained.valid_data_loader))
    for n in (1, 2, 7, len(inputs)):
        with torch.no_grad():
            expected, found = trained.model.eval()(inputs[:n]), exported(inputs[:n])
        assert torch.allclose(expected, found, atol=1e-5)


@pytest.mark.parametrize(
    ("differs", "amount", "shown"),
    [(lambda n: n == 1, 0.01, "1.0e-02"), (lambda n: n > 2, float("nan"), "nan")],
    ids=["one", "many"],
)
def test_a_file_that_gives_something_else_is_not_kept(
    differs, amount, shown, export, trained, monkeypatch
):
    """As of a model that behaves in another way where it is not exported."""
    forward = type(trained.model).forward

    def two_faced(self, x):
        is_other = not torch.compiler.is_compiling() and differs(len(x))
        return forward(self, x) + amount if is_other else forward(self, x)

    monkeypatch.setattr(type(trained.model), "forward", two_faced)
    before = {*trained.checkpoint_dir.iterdir()}
    status, out, err = export("--to", "torch.export")
    assert status == 1 and not out
    assert err == f"not kept: its outputs differ by {shown}, allowed is 0.0001\n"
    assert {*trained.checkpoint_dir.iterdir()} == before


def test_a_model_with_a_fixed_batch_size_is_refused(export, trained, monkeypatch):
    forward = type(trained.model).forward

    def fixed(self, x):
        return forward(self, x) if len(x) != 2 else forward(self, x.reshape(2, *x.shape[1:]))

    monkeypatch.setattr(type(trained.model), "forward", fixed)
    before = {*trained.checkpoint_dir.iterdir()}
    status, out, err = export("--to", "torch.export")
    assert status == 1 and not out and len(err.splitlines()) == 1
    assert f"{type(trained.model).__name__} cannot be exported" in err and "size()[0]" in err
    assert {*trained.checkpoint_dir.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "safetensors"], "--to safetensors takes safetensors: pip install safetensors"),
        (["--to", "torch.export", "-o", "none/model.pt2"], "cannot be written: No such file"),
        (["--to", "torch.export", "data_loader.args.batch_size=1"], "takes two samples"),
        (["--to", "torch.export", "-r", "none.pth"], "none.pth: cannot be read"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, export, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)  # as if it were not installed
    before = {*trained.checkpoint_dir.iterdir()}
    status, out, err = export(*arguments)
    assert status == 2 and not out and message in err and len(err.splitlines()) == 1
    assert {*trained.checkpoint_dir.iterdir()} == before
