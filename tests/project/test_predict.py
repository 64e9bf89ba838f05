"""A trained model on new inputs: predict.py, and from_checkpoint in code of one's own."""

import csv
import io
import json
import re
import shlex
from importlib import import_module

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from base import BaseModel
from predict import main
from utils import UserError, checkpoint
from utils.files import PROJECT_DIR, write_json


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
    return folder


def expected(trained, digits):
    inputs = torch.stack([prepare(digit) for digit in digits])
    with torch.no_grad():
        return trained.model.eval()(inputs)


@pytest.mark.parametrize(("batch_size", "sizes"), [(2, [2, 2, 1]), (64, [5])])
def test_arrays_to_csv_with_classes_and_probabilities(
    predict, trained, digits, tmp_path, batch_size, sizes
):
    np.save(tmp_path / "digits.npy", digits)
    seen = []
    with register_module_forward_pre_hook(
        lambda module, args: seen.append(len(args[0])) if isinstance(module, BaseModel) else None
    ):
        status, out, err = predict(tmp_path / "digits.npy", "--batch-size", batch_size)
    assert seen == sizes
    rows = list(csv.DictReader(io.StringIO(out)))
    probabilities = expected(trained, digits).softmax(dim=1)
    assert status == 0 and not err and len(rows) == 5
    for index, (row, wanted) in enumerate(zip(rows, probabilities, strict=True)):
        assert row["input"] == f"{tmp_path / 'digits.npy'}[{index}]"
        assert row["class"] == "abcdefghij"[wanted.argmax()]
        assert float(row["probability"]) == pytest.approx(wanted.max().item(), abs=2e-6)
        columns = [float(row[f"p_{name}"]) for name in "abcdefghij"]
        assert columns == pytest.approx(wanted.tolist(), abs=2e-6)


def test_the_best_model_of_the_last_run(predict, trained, digits, tmp_path, monkeypatch):
    np.save(tmp_path / "digits.npy", digits)
    write_json(trained.config.config, tmp_path / "config.json")
    monkeypatch.setattr("predict.default_config", lambda: tmp_path / "config.json")
    expected = predict(tmp_path / "digits.npy")[1]
    for name, file in (("best", "model_best.pth"), ("auto", "last.pth")):
        taken = f"{trained.checkpoint_dir / file} is taken\n"
        assert predict(tmp_path / "digits.npy", checkpoint=name) == (0, expected, taken)


def test_folders_of_images_to_json(predict, trained, digits, tmp_path):
    folder = save_images(digits, tmp_path / "images" / "inside")
    (folder / "notes.txt").write_text("no image")
    file = tmp_path / "predictions.json"
    status, out, err = predict(tmp_path / "images", "-o", file)
    rows = json.loads(file.read_text())
    assert (status, out, err) == (0, "", "")
    assert [row["input"] for row in rows] == [str(folder / f"{n}.png") for n in range(5)]
    best = expected(trained, digits).argmax(dim=1)
    assert [row["class"] for row in rows] == ["abcdefghij"[number] for number in best]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5) for row in rows)


def test_bad_files_are_named_and_skipped(predict, digits, tmp_path):
    folder = save_images(digits, tmp_path / "images")
    cut = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(cut[: len(cut) // 2])
    (folder / "2.png").write_text("no image")
    (folder / "empty").mkdir()
    np.save(folder / "floats.npy", digits.astype(float))
    np.save(folder / "objects.npy", np.array([{}, 1], dtype=object))
    np.savez(folder / "two.npz", a=digits, b=digits)
    (folder / "zeros.npz").write_bytes(bytes(100))
    inputs = [folder, folder / "missing.png", folder / "empty"]
    file = tmp_path / "predictions.csv"
    status, out, err = predict(*inputs, "-o", file)
    reasons = dict(line.split(": skipped: ") for line in err.splitlines())
    names = ["1.png", "2.png", "floats.npy[0]", "objects.npy", "two.npz", "zeros.npz"]
    assert status == 1 and not out
    assert sorted(reasons) == [
        str(folder / name) for name in sorted([*names, "missing.png", "empty"])
    ]
    assert reasons[str(folder / "floats.npy[0]")] == "grey values are uint8, not float64"
    assert reasons[str(folder / "missing.png")] == "No such file or directory"
    assert reasons[str(folder / "two.npz")].endswith("with --array: a, b")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["input"] for row in rows] == [str(folder / f"{n}.png") for n in (0, 3, 4)]


def test_one_of_several_arrays(predict, digits, tmp_path):
    np.savez(tmp_path / "two.npz", a=digits[:2], b=digits)
    status, out, _ = predict(tmp_path / "two.npz", "--array", "a")
    assert status == 0 and len(out.splitlines()) == 3


def test_plain_values_where_there_are_no_classes(predict, trained, digits, tmp_path, monkeypatch):
    monkeypatch.delattr(type(trained.data_loader), "classes")
    np.save(tmp_path / "digits.npy", digits)
    _, as_json, _ = predict(tmp_path / "digits.npy", "--format", "json")
    _, as_csv, _ = predict(tmp_path / "digits.npy")
    wanted = expected(trained, digits).tolist()
    for index, row in enumerate(json.loads(as_json)):
        assert row["output"] == pytest.approx(wanted[index], abs=1e-5)
    for index, row in enumerate(csv.DictReader(io.StringIO(as_csv))):
        values = [float(row[f"output_{n}"]) for n in range(10)]
        assert values == pytest.approx(wanted[index], abs=1e-5)


def test_prepare_gets_arguments_of_the_data_loader(
    predict, trained, path, digits, tmp_path, monkeypatch
):
    def darken(sample, validation_split):
        return prepare(sample) * validation_split

    monkeypatch.setattr(type(trained.data_loader), "prepare", staticmethod(darken))
    state = checkpoint.load(path)
    state["config"]["data_loader"]["args"]["validation_split"] = 0
    checkpoint.save(state, tmp_path / "dark.pth")
    np.save(tmp_path / "digits.npy", digits)
    _, out, _ = predict(tmp_path / "digits.npy", checkpoint=tmp_path / "dark.pth")
    assert len({line.split(",", 1)[1] for line in out.splitlines()[1:]}) == 1


def test_without_prepare_arrays_are_taken_as_they_are(
    predict, trained, digits, tmp_path, monkeypatch
):
    np.save(tmp_path / "raw.npy", digits)
    inputs = np.stack([prepare(digit).numpy() for digit in digits]).astype(np.float64)
    np.save(tmp_path / "ready.npy", inputs)
    _, wanted, _ = predict(tmp_path / "raw.npy")
    monkeypatch.delattr(type(trained.data_loader), "prepare")
    status, found, _ = predict(tmp_path / "ready.npy")
    assert status == 0 and found.replace("ready", "raw") == wanted
    np.save(tmp_path / "words.npy", np.array(["no", "numbers"]))
    for file, reason in {
        save_images(digits, tmp_path / "images"): "no 'prepare', which images need",
        tmp_path / "raw.npy": "raw.npy[0] to ",
        tmp_path / "words.npy": "none of the inputs could be used",
    }.items():
        status, out, err = predict(file)
        assert status == 2 and not out and reason in err.splitlines()[-1]
        assert "Traceback" not in err


def add_class(loader, state, monkeypatch):
    monkeypatch.setattr(loader, "classes", tuple("abcdefghijk"))


def remove_config(loader, state, monkeypatch):
    del state["config"]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (add_class, [], "11 classes of the data loader, but outputs of (10,)"),
        (remove_config, [], "has no config in it"),
        (None, ["-o", "none/predictions.csv"], "cannot be written: No such file or directory"),
        (None, ["-d", "cuda:99"], "device 'cuda:99' is not there"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    change, arguments, message, predict, trained, path, digits, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    state = checkpoint.load(path)
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
    status, _, err = predict(tmp_path, "-o", tmp_path / "predictions.csv", "--batch-size", 1)
    assert status == 2 and "2.npy[0] to " in err
    assert (tmp_path / "predictions.csv").read_text() == "old"
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_usable_is_status_2_and_no_file(predict, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    status, out, err = predict(tmp_path / "bad.png", "-o", tmp_path / "predictions.csv")
    assert status == 2 and not out and not (tmp_path / "predictions.csv").exists()
    assert err.splitlines()[1] == "none of the inputs could be used"


@pytest.mark.slow
def test_the_commands_of_the_docs(path, digits, tmp_path, monkeypatch):
    for package in ("onnxruntime", "onnxscript", "safetensors"):
        pytest.importorskip(package, reason=f"export.py takes {package} for some formats")
    monkeypatch.chdir(tmp_path)
    np.save("arrays.npy", digits)
    (save_images(digits, tmp_path / "pictures") / "0.png").rename("picture.png")
    pages = [PROJECT_DIR / "README.md", PROJECT_DIR / "docs" / "using.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    commands = re.findall(r"^python (predict|export)\.py (.*)$", text, re.MULTILINE)
    assert len(commands) == 7
    for script, arguments in commands:
        arguments = shlex.split(
            re.sub(r"saved/\S+/model_best.pth", str(path), arguments), comments=True
        )
        import_module(script).main(arguments)
    assert {"predictions.json", "weights.safetensors"} <= {file.name for file in tmp_path.iterdir()}


def test_a_model_from_a_checkpoint_gives_what_was_trained(trained, path):
    model = type(trained.model).from_checkpoint(path, device="cpu")
    inputs, _ = next(iter(trained.valid_data_loader))
    assert not model.training
    assert torch.equal(model(inputs), trained.model.eval()(inputs))


def test_averaged_weights_are_used_where_there_are_some(make_trainer):
    trainer = make_trainer({"trainer.epochs": 1, "trainer.ema": 0.5})
    trainer.train()
    model = type(trainer.model).from_checkpoint(trainer.checkpoint_dir / "model_best.pth", "cpu")
    inputs, _ = next(iter(trainer.valid_data_loader))
    assert torch.equal(model(inputs), trainer.ema.module.eval()(inputs))
    assert not torch.equal(model(inputs), trainer.model.eval()(inputs))


def test_from_checkpoint_says_what_does_not_fit(trained, path, tmp_path):
    cls = type(trained.model)

    class Other(cls):
        pass

    with pytest.raises(UserError, match=f"arch.type is '{cls.__name__}', not 'Other'"):
        Other.from_checkpoint(path)
    with pytest.raises(UserError, match="device 'cuda:99' is not there"):
        cls.from_checkpoint(path, device="cuda:99")
    torch.save({"model_state_dict": trained.model.state_dict()}, tmp_path / "bare.pth")
    with pytest.raises(UserError, match="has no config in it"):
        cls.from_checkpoint(tmp_path / "bare.pth")
