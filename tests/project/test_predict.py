"""A trained model on new inputs: predict.py, and load_model in code of one's own."""

import csv
import io
import os
import random
import re
import shlex
from functools import partial
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_pre_hook

import train
from base import BaseModel
from parse_config import ConfigParser
from predict import main
from test import load_model
from utils import UserError, checkpoint, resume
from utils.files import PROJECT_DIR, write_json
from utils.inferred import interpret
from utils.seed import seed_cpu


def prepare(sample):
    """Grey values of a picture or an array as the model takes them."""
    grey = np.array(sample.convert("L") if hasattr(sample, "convert") else sample)
    if grey.dtype != np.uint8:
        raise ValueError(f"grey values are uint8, not {grey.dtype}")
    return torch.tensor(grey, dtype=torch.float32)[None] / 255


@pytest.fixture
def trained(make_trainer, monkeypatch):
    """The trainer of a short run, whose data loader says how predict.py makes inputs."""
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.train()
    loader = type(trainer.data_loader)
    monkeypatch.setattr(loader, "prepare", staticmethod(prepare), raising=False)
    monkeypatch.setattr(loader, "classes", tuple("abcdefghij"), raising=False)
    return trainer


@pytest.fixture
def path(trained):
    return trained.checkpoint_dir / "model_best.pth"


@pytest.fixture
def digits(trained):
    """Five real digits as uint8 grey values."""
    images = torch.stack([trained.data_loader.dataset[index][0][0] for index in range(5)])
    return ((images - images.min()) / (images.max() - images.min()) * 255).byte().numpy()


@pytest.fixture
def predict(path, capsys):
    """Run predict.py on the checkpoint; the status, standard output and errors."""

    def run(*arguments, checkpoint=path):
        status = 0
        try:
            main(["-r", str(checkpoint), "-d", "cpu", *map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def save_images(digits, folder):
    from PIL import Image

    folder.mkdir(parents=True)
    for number, digit in enumerate(digits):
        Image.fromarray(digit).save(folder / f"{number}.png")
    return [folder / f"{number}.png" for number in range(len(digits))]


def expected(trained, digits):
    inputs = torch.stack([prepare(digit) for digit in digits])
    with torch.no_grad():
        return trained.model.eval()(inputs)


def rows_in(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(("batch_size", "sizes"), [(2, [2, 2, 1]), (64, [5])])
def test_arrays_with_classes_and_probabilities(
    predict, trained, path, digits, tmp_path, batch_size, sizes
):
    state = resume.load(path)
    state["config"]["data_loader"]["args"]["batch_size"] = batch_size
    checkpoint.save(state, tmp_path / "changed.pth")
    np.save(tmp_path / "digits.npy", digits)
    seen = []
    with register_module_forward_pre_hook(
        lambda module, args: seen.append(len(args[0])) if isinstance(module, BaseModel) else None
    ):
        status, out, err = predict(tmp_path / "digits.npy", checkpoint=tmp_path / "changed.pth")
    assert seen == sizes
    probabilities = expected(trained, digits).softmax(dim=1)
    assert status == 0 and not err and len(rows_in(out)) == 5
    for index, (row, wanted) in enumerate(zip(rows_in(out), probabilities, strict=True)):
        assert row["input"] == f"{tmp_path / 'digits.npy'}[{index}]"
        assert row["class"] == "abcdefghij"[wanted.argmax()]
        assert float(row["probability"]) == pytest.approx(wanted.max().item(), abs=1e-6)
        columns = [float(row[f"probability_{name}"]) for name in "abcdefghij"]
        assert columns == pytest.approx(wanted.tolist(), abs=1e-6)


def test_the_best_model_of_the_last_run(predict, trained, digits, tmp_path, monkeypatch):
    np.save(tmp_path / "digits.npy", digits)
    write_json(trained.config.config, tmp_path / "config.json")
    monkeypatch.setattr("parse_config.default_config", lambda: tmp_path / "config.json")
    wanted = predict(tmp_path / "digits.npy")
    for name in ("best", "auto"):
        assert predict(tmp_path / "digits.npy", checkpoint=name) == wanted


def test_a_bad_input_is_named_and_nothing_is_written(predict, digits, tmp_path):
    folder = tmp_path / "images"
    images = save_images(digits, folder)
    images[1].write_bytes(images[1].read_bytes()[: len(images[1].read_bytes()) // 2])
    images[2].write_text("no image")
    mixed = np.array([*digits[:2], None, digits[2]], dtype=object)
    np.save(folder / "objects.npy", mixed)
    np.save(folder / "floats.npy", digits.astype(float))
    np.save(folder / "number.npy", 5)
    np.savez(folder / "two.npz", a=digits, b=digits)
    (folder / "zeros.npz").write_bytes(bytes(100))
    bad = {"1.png": "OSError: ", "2.png": "UnidentifiedImageError: ", "objects.npy": "ValueError: "}
    bad |= {"number.npy": "TypeError: ", "zeros.npz": "ValueError: ", "missing.png": "FileNot"}
    bad |= {"floats.npy": "ValueError: grey values are uint8, not float64"}
    bad |= {"two.npz": "ValueError: choose one of its arrays with --array: a, b"}
    file = tmp_path / "predictions.csv"
    for name, reason in bad.items():
        status, out, err = predict(images[0], folder / name, images[3], "-o", file)
        assert (status, out, err.count("\n")) == (2, "", 1) and not file.exists()
        assert err.startswith(f"{folder / name}") and f": {reason}" in err, err


def test_help_offers_what_predict_takes(predict, digits, tmp_path, monkeypatch):
    """All that is no option is a file. A config, as with other scripts, says which run is meant."""
    status, out, _ = predict("--help")
    assert status == 0 and "FILE [FILE ...]" in out and "--config" in out
    assert "KEY=VALUE" not in out and "--allow-data-change" not in out
    monkeypatch.chdir(tmp_path)
    np.save("a=1.npy", digits)
    wanted = predict("a=1.npy")
    assert wanted[0] == 0 and len(rows_in(wanted[1])) == 5
    [config] = tmp_path.glob("saved/*/*/config.json")
    assert predict("-c", config, "a=1.npy", checkpoint="best") == wanted


def test_one_of_several_arrays(predict, digits, tmp_path):
    np.savez(tmp_path / "two.npz", a=digits[:2], b=digits)
    status, out, _ = predict(tmp_path / "two.npz", "--array", "a")
    assert status == 0 and len(out.splitlines()) == 3


def test_a_bad_entry_is_named(predict, trained, digits, tmp_path, monkeypatch):
    def refuse_third(sample):
        if (sample == digits[2]).all():
            raise LookupError("the third")
        return prepare(sample)

    monkeypatch.setattr(type(trained.data_loader), "prepare", staticmethod(refuse_third))
    np.save(tmp_path / "digits.npy", digits)
    line = f"{tmp_path / 'digits.npy'}[2]: LookupError: the third\n"
    assert predict(tmp_path / "digits.npy") == (2, "", line)


def test_classes_without_names_have_numbers(predict, trained, digits, tmp_path, monkeypatch):
    monkeypatch.delattr(type(trained.data_loader), "classes")
    np.save(tmp_path / "digits.npy", digits)
    wanted = expected(trained, digits).argmax(dim=1).tolist()
    assert [int(row["class"]) for row in rows_in(predict(tmp_path / "digits.npy")[1])] == wanted


def test_the_task_of_the_config_wins(predict, trained, path, digits, tmp_path):
    np.save(tmp_path / "digits.npy", digits)
    logits = expected(trained, digits)
    state = resume.load(path)
    for task, prefix, wanted in (
        ("none", "output", logits),
        ("regression", "output", logits),
        ("multilabel", "probability", logits.sigmoid()),
    ):
        state["config"]["task"] = task
        checkpoint.save(state, tmp_path / "declared.pth")
        status, out, _ = predict(tmp_path / "digits.npy", checkpoint=tmp_path / "declared.pth")
        names = "abcdefghij" if task == "multilabel" else range(10)
        rows = rows_in(out)
        assert status == 0 and [*rows[0]] == ["input", *(f"{prefix}_{name}" for name in names)]
        for row, values in zip(rows, wanted.tolist(), strict=True):
            assert [float(x) for x in [*row.values()][1:]] == pytest.approx(values, abs=1e-5)


class OwnLoss(nn.CrossEntropyLoss):
    pass


@pytest.mark.parametrize(
    ("criterion", "n", "task"),
    [
        (partial(F.cross_entropy), 3, "multiclass"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), 3, "multiclass"),
        (nn.NLLLoss(), 3, "multiclass"),
        (OwnLoss(), 3, "none"),
        (partial(lambda output, target: output.mean()), 3, "none"),
        ({"a": nn.MSELoss()}, 3, "none"),
        (partial(F.smooth_l1_loss), 1, "regression"),
        (nn.HuberLoss(), 3, "regression"),
        (nn.BCEWithLogitsLoss(), 3, "multilabel"),
        (partial(F.binary_cross_entropy_with_logits), 1, "binary"),
        (nn.BCELoss(), 1, "binary"),
    ],
)
def test_the_task_is_inferred_where_the_loss_makes_it_certain(criterion, n, task):
    outputs = torch.linspace(0.1, 0.9, 2 * n).reshape(2, n)
    found, values = interpret({"task": None}, criterion, outputs)
    has_logits = not isinstance(criterion, nn.BCELoss)
    wanted = {"multiclass": outputs.softmax(dim=1), "multilabel": outputs.sigmoid()}
    wanted["binary"] = outputs.sigmoid() if has_logits else outputs
    assert found == task and torch.equal(values, wanted.get(task, outputs))


@pytest.mark.parametrize(("task", "n"), [("binary", 2), ("multiclass", 1)])
def test_outputs_that_do_not_fit_the_task_are_refused(task, n):
    with pytest.raises(UserError, match=rf"task = '{task}': does not fit outputs of \({n},\)"):
        interpret({"task": task}, nn.MSELoss(), torch.zeros(2, n))


PARTS = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from base import BaseDataLoader


class Pairs(nn.Module):
    def __init__(self, n=1, as_dict=False):
        super().__init__()
        self.layer = nn.Linear(2, n)
        self.as_dict = as_dict

    def forward(self, a, b=None):
        out = self.layer(torch.stack([a, b], dim=1) if b is not None else a["both"])
        return {"first": out[:, 0], "all": out} if self.as_dict else out


class Rows(BaseDataLoader):
    def __init__(self, n=1, batch_size=4, shuffle=True, validation_split=0.25, num_workers=0):
        x = torch.rand(16, 2)
        data = TensorDataset(x, (x[:, :1] > 0.5).float().expand(-1, n))
        super().__init__(data, batch_size, shuffle, validation_split, num_workers)

    @staticmethod
    def prepare(row):
        a, b = [float(x) for x in (row.split() if isinstance(row, str) else row.values())]
        return (torch.tensor(a), torch.tensor(b))


class Dicts(Rows):
    @staticmethod
    def prepare(row, n):
        return {"both": torch.tensor([n * float(x) for x in row.values()])}
"""


@pytest.fixture
def predict_pairs(tmp_path, monkeypatch, predict):
    """Train nothing, predict the rows of a table with parts of PARTS; the model and the rows."""
    (tmp_path / "pair_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n3,4\n5,6\n7,8\n9,10\n")
    (tmp_path / "rows.txt").write_text("1 2\n3 4\n5 6\n")

    def run(loss, file="rows.csv", loader="Rows", n=1, **args):
        config = ConfigParser(
            {
                "arch": {"type": "pair_parts.Pairs", "args": {"n": n, **args}},
                "data_loader": {"type": f"pair_parts.{loader}", "args": {"n": n}},
                "optimizer": {"type": "SGD", "args": {"lr": 0.1}},
                "loss": loss,
                "device": "cpu",
            }
        )
        _, model, _, _ = train.build_model(config)
        state = {"state_dict": model.state_dict(), "config": config.config}
        checkpoint.save(state, tmp_path / "pairs.pth")
        status, out, err = predict(tmp_path / file, checkpoint=tmp_path / "pairs.pth")
        return model, rows_in(out), status, err

    return run


X = torch.arange(1.0, 11).reshape(5, 2)


def test_a_row_of_a_table_and_a_tuple_for_a_model_of_two_arguments(predict_pairs):
    model, rows, status, _ = predict_pairs("binary_cross_entropy_with_logits")
    wanted = model.layer(X).sigmoid().flatten().tolist()
    assert status == 0 and [*rows[0]] == ["input", "probability"]
    assert [float(row["probability"]) for row in rows] == pytest.approx(wanted)
    assert rows[4]["input"].endswith("rows.csv[4]")


def test_lines_of_text(predict_pairs):
    model, rows, status, err = predict_pairs("mse_loss", "rows.txt")
    assert (status, err) == (0, "")
    assert [row["input"][-3:] for row in rows] == ["[0]", "[1]", "[2]"]
    wanted = model.layer(X[:3]).flatten().tolist()
    assert [float(row["output"]) for row in rows] == pytest.approx(wanted)


def test_dicts_for_the_model_and_from_it(predict_pairs):
    model, rows, status, _ = predict_pairs("mse_loss", loader="Dicts", n=2, as_dict=True)
    wanted = model.layer(2 * X)
    assert status == 0 and [*rows[0]] == ["input", "first", "all_0", "all_1"]
    for row, values in zip(rows, wanted.tolist(), strict=True):
        found = [float(row[name]) for name in ("first", "all_0", "all_1")]
        assert found == pytest.approx([values[0], *values])


def test_samples_of_different_shape_are_put_together_by_the_loader(
    predict, trained, digits, tmp_path, monkeypatch
):
    loader = type(trained.data_loader)
    monkeypatch.setattr(loader, "prepare", staticmethod(lambda x: prepare(x)[:, : 4 + len(x) % 3]))
    monkeypatch.setattr(
        loader,
        "collate",
        staticmethod(
            lambda parts: torch.stack([F.pad(x, [0, 0, 0, 8 - x.shape[1]]) for x in parts])
        ),
        raising=False,
    )
    np.save(tmp_path / "digits.npy", digits)
    status, out, _ = predict(tmp_path / "digits.npy")
    assert status == 0 and len(rows_in(out)) == 5


def test_without_prepare_a_line_says_what_is_missing(
    predict, trained, digits, tmp_path, monkeypatch
):
    monkeypatch.delattr(type(trained.data_loader), "prepare")
    np.save(tmp_path / "digits.npy", digits)
    line = "DigitsDataLoader has no static method 'prepare(sample)': see docs/runs.md\n"
    assert predict(tmp_path / "digits.npy") == (2, "", line)


def add_class(loader, state, monkeypatch):
    monkeypatch.setattr(loader, "classes", tuple("abcdefghijk"))


def remove_config(loader, state, monkeypatch):
    del state["config"]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (add_class, [], "outputs of (10,) are no 11 numbers in a row"),
        (remove_config, [], "has no config in it"),
        (None, ["-o", "none/predictions.csv"], "none/predictions.csv: No such file or directory"),
        (None, ["-d", "cuda:99"], "device 'cuda:99' is not there"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    change, arguments, message, predict, trained, path, digits, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    state = resume.load(path)
    if change is not None:
        change(type(trained.data_loader), state, monkeypatch)
    checkpoint.save(state, tmp_path / "changed.pth")
    np.save("digits.npy", digits)
    before = sorted(tmp_path.rglob("*"))
    status, out, err = predict("digits.npy", *arguments, checkpoint="changed.pth")
    assert status == 2 and not out and message in err and len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_what_ends_in_the_middle_leaves_the_file_of_before(predict, digits, tmp_path):
    np.save(tmp_path / "1.npy", digits)
    np.save(tmp_path / "2.npy", digits[:, :-1])  # too small for the model
    (tmp_path / "predictions.csv").write_text("old")
    before = sorted(tmp_path.rglob("*"))
    inputs = [tmp_path / "1.npy"] * 13 + [tmp_path / "2.npy"]  # one batch is written before
    status, out, err = predict(*inputs, "-o", tmp_path / "predictions.csv")
    assert status == 2 and len(err.splitlines()) == 1 and "2.npy[4]: RuntimeError: stack" in err
    assert (tmp_path / "predictions.csv").read_text() == "old"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_the_commands_of_the_docs(trained, path, digits, tmp_path, monkeypatch):
    for package in ("onnxruntime", "onnxscript", "safetensors"):
        pytest.importorskip(package, reason=f"export.py takes {package} for some formats")
    monkeypatch.chdir(tmp_path)
    write_json(trained.config.config, tmp_path / "config.json")
    monkeypatch.setattr("parse_config.default_config", lambda: tmp_path / "config.json")
    file = "digits.npy"
    np.save(file, digits)
    pages = [PROJECT_DIR / "docs" / name for name in ("runs.md", "using.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    commands = re.findall(r"^python (predict|export)\.py (.*)$", text, re.MULTILINE)
    assert len(commands) == 5
    for script, arguments in commands:
        arguments = shlex.split(
            re.sub(r"saved/.+/model_best.pth", str(path), arguments.replace("FILE", file)),
            comments=True,
        )
        import_module(script).main(arguments)
    assert {"predictions.csv", "weights.safetensors"} <= {file.name for file in tmp_path.iterdir()}


def test_a_model_from_a_checkpoint_gives_what_was_trained(trained, path):
    model = load_model(path, device="cpu")
    inputs, _ = next(iter(trained.valid_data_loader))
    assert not model.training
    assert torch.equal(model(inputs), trained.model.eval()(inputs))


def test_to_load_a_model_leaves_the_rest_of_the_process_alone(path):
    """And no other part of the config is looked up: this one may be gone by now."""
    state = resume.load(path)
    state["config"] |= {"deterministic": True, "metrics": ["of_an_old_project"]}
    state["config"]["data_loader"]["type"] = "GoneDataLoader"
    checkpoint.save(state, path)

    def draw():
        return random.random(), np.random.random(), torch.rand(()).item()

    def switches():
        return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark

    seed_cpu(5)
    drawn, before = draw(), switches()
    seed_cpu(5)
    assert not load_model(path, "cpu").training
    assert (draw(), switches()) == (drawn, before)


def test_averaged_weights_are_used_where_there_are_some(make_trainer):
    trainer = make_trainer({"trainer.epochs": 1, "trainer.ema": 0.5})
    trainer.train()
    model = load_model(trainer.checkpoint_dir / "model_best.pth", "cpu")
    inputs, _ = next(iter(trainer.valid_data_loader))
    assert torch.equal(model(inputs), trainer.state["ema"].module.eval()(inputs))
    assert not torch.equal(model(inputs), trainer.model.eval()(inputs))


def test_a_checkpoint_of_which_no_model_can_be_made_is_one_line(trained, path, tmp_path):
    with pytest.raises(UserError, match="device 'cuda:99' is not there"):
        load_model(path, device="cuda:99")
    torch.save({"model_state_dict": trained.model.state_dict()}, tmp_path / "bare.pth")
    with pytest.raises(UserError, match="has no config in it"):
        load_model(tmp_path / "bare.pth")


def test_an_output_of_which_nobody_reads_the_rest_is_no_mistake(
    predict, digits, tmp_path, monkeypatch
):
    np.save(tmp_path / "digits.npy", digits)
    end, output = os.pipe()
    os.close(end)  # as by a `head` that has enough
    with os.fdopen(output, "w", buffering=1) as console:
        monkeypatch.setattr("sys.stdout", console)
        assert predict(tmp_path / "digits.npy")[::2] == (0, "")


def test_an_output_that_takes_no_more_is_named(predict, digits, tmp_path, monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    np.save(tmp_path / "digits.npy", digits)
    monkeypatch.setattr("sys.stdout", Full())
    status, _, err = predict(tmp_path / "digits.npy")
    assert status == 2 and err == "standard output: No space left on device\n"
