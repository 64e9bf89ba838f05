"""Files that other code has written, made here by that code's means."""

import pickle
from pathlib import Path

import pytest
import torch

from digits_example import CONFIG, DigitsModel
from helpers import ENVIRONMENT, python
from tools.convert import read_inert, without_prefixes
from train import build_trainer, main
from utils import UserError, resume
from utils.files import PROJECT_DIR

# As victoresque's template did it: the whole ConfigParser, an object of the project, is pickled
OLD_PROJECT = """
from collections import OrderedDict
from pathlib import Path
import logging, os, sys
import numpy as np
import torch

class ConfigParser:
    def __init__(self, config):
        self._config = config
        self.resume = None
        self._save_dir = Path("saved/models")
        self.log_levels = {0: logging.WARNING}

class Evil:
    def __reduce__(self):
        return os.system, ("touch " + sys.argv[3],)

if __name__ == "__main__":
    import parse_config
    sys.path[1:1] = [sys.argv[4], sys.argv[1]]
    from digits_example import DigitsModel
    torch.manual_seed(7)
    model = DigitsModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    model(torch.ones(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    config = OrderedDict(
        name="Mnist", n_gpu=1,
        arch=OrderedDict(type="DigitsModel", args=OrderedDict()),
        data_loader={"type": "DigitsDataLoader", "args": {"batch_size": 64,
            "shuffle": True, "validation_split": 0.1, "num_workers": 0}},
        optimizer={"type": "Adam", "args": {"lr": 0.5}}, loss="cross_entropy", metrics=["accuracy"],
        trainer={"epochs": 100, "save_dir": "saved/", "save_period": 1, "verbosity": 2,
            "monitor": "min val_loss", "early_stop": 10, "tensorboard": False})
    state = {"arch": "DigitsModel", "epoch": 4, "optimizer": optimizer.state_dict(),
        "state_dict": {"module." + k: v for k, v in model.state_dict().items()},
        "monitor_best": np.float64(0.3), "config": parse_config.ConfigParser(config)}
    torch.save(state, "zip.pth")
    torch.save(state, "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 4, "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(), "loss": 0.3}, "tutorial.pth")
    torch.save(state | {"more": parse_config.Evil()}, "evil.pth")
    torch.save(state | {"state_dict": parse_config.Evil()}, "evil_legacy.pth",
        _use_new_zipfile_serialization=False)
    torch.save(model.state_dict(), "expected.pth")
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    (folder / "parse_config.py").write_text(OLD_PROJECT)
    arguments = [PROJECT_DIR, "-", folder / "code_was_run", Path(__file__).parent]
    environment = ENVIRONMENT | {"PYTHONPATH": str(folder)}
    done = python("parse_config.py", *arguments, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def converted(old, example_parts, tmp_path, capsys):
    """A file of other code in tmp_path; where it has objects in it, what --convert makes of it."""

    def convert(name):
        path = tmp_path / name
        path.write_bytes((old / name).read_bytes())
        if name == "tutorial.pth":
            return path
        main(["-c", str(CONFIG), "--convert", str(path)])
        target = tmp_path / f"{path.stem}_converted.pth"
        how = f"to go on with it: python train.py -r {target}"
        assert capsys.readouterr().out == f"{target}: {how}\n"
        assert torch.load(target, weights_only=True)["epoch"] == 4
        return target

    return convert


@pytest.mark.parametrize("name", ["zip.pth", "evil.pth"])
def test_a_file_with_objects_in_it_is_refused_with_the_way_to_convert_it(old, name):
    what = f"{name}: holds more than .*; to convert it: python -m tools.convert .*{name}"
    with pytest.raises(UserError, match=what):
        resume.load(old / name)
    assert not (old / "code_was_run").exists()


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "tutorial.pth", "expected.pth"])
def test_a_damaged_file_is_called_damaged(old, tmp_path, name):
    path, content = tmp_path / name, (old / name).read_bytes()
    for n_bytes in (0, 100, 3000, len(content) - 10_000):
        path.write_bytes(content[:n_bytes])
        with pytest.raises(UserError, match="damaged, or not a checkpoint"):
            read_inert(path)
        with pytest.raises(UserError, match="damaged, or not a checkpoint"):
            resume.load(path)
    path.write_bytes(content[:-5000] + bytes([content[-5000] ^ 1]) + content[-4999:])
    if name != "legacy.pth":  # which has no sums
        for load in (resume.load, read_inert):
            with pytest.raises(UserError, match=f"{name}: damaged"):
                load(path)


@pytest.mark.parametrize("content", [b"no checkpoint", b'{"a": 1}', pickle.dumps({"a": 1})])
def test_a_file_of_another_kind_is_no_checkpoint(tmp_path, content):
    (path := tmp_path / "other.pth").write_bytes(content)
    for load in (resume.load, read_inert):
        with pytest.raises(UserError, match="other.pth: damaged, or not a checkpoint"):
            load(path)
    for place in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(UserError, match="cannot be read: (Is a directory|No such file)"):
            read_inert(place)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "tutorial.pth"])
def test_weights_and_optimizer_of_other_code_are_taken_up(
    old, make_config, converted, name, tmp_path
):
    path = converted(name)
    trainer = build_trainer(make_config({"trainer.epochs": 5}, resume=path))
    trainer._resume_checkpoint(path)
    expected = torch.load(old / "expected.pth", weights_only=True)
    assert all(torch.equal(w, expected[k]) for k, w in trainer.model.state_dict().items())
    assert trainer.start_epoch == 5 and trainer.optimizer.param_groups[0]["lr"] == 0.5
    assert trainer.mnt_best == (pytest.approx(0.3) if name != "tutorial.pth" else float("inf"))
    before = sorted(tmp_path.iterdir())
    assert trainer.train()["epoch"] == 5
    assert (trainer.checkpoint_dir / "checkpoint-epoch5.pth").exists()
    assert trainer.checkpoint_dir.is_relative_to(tmp_path / "saved")  # where it lies, is no run
    assert {*tmp_path.iterdir()} == {*before, tmp_path / "saved"}


def test_the_pickled_config_is_used(old, converted, tmp_path, capsys):
    path = converted("zip.pth")
    import_test = __import__("test")
    save_dir = f"trainer.save_dir={tmp_path / 'saved'}"
    import_test.main(["-r", str(path), "-d", "cpu", save_dir])
    assert "epoch 4, 297 test samples" in capsys.readouterr().out
    assert {*tmp_path.iterdir()} == {path, tmp_path / "zip.pth"}
    path.write_bytes((old / "tutorial.pth").read_bytes())
    with pytest.raises(SystemExit, match="2"):
        import_test.main(["-r", str(path)])
    assert "has no config in it: give one with -c" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "left_out"), [("evil.pth", "more"), ("evil_legacy.pth", "state_dict")]
)
def test_code_in_a_file_is_never_run(old, caplog, name, left_out):
    state = read_inert(old / name)
    path = old / name
    assert caplog.messages == [f"{path}: {left_out} is a system, so '{left_out}' is left out"]
    assert left_out not in state and {"epoch", "optimizer", "config"} < state.keys()
    assert not (old / "code_was_run").exists()
    torch.load(old / name, weights_only=False, map_location="cpu")  # the file does have teeth
    assert (old / "code_was_run").exists()
    (old / "code_was_run").unlink()


def test_what_has_no_weights_is_not_converted_and_nothing_is_overwritten(
    old, example_parts, tmp_path, capsys
):
    for name in ("evil_legacy.pth", "zip.pth"):
        (tmp_path / name).write_bytes((old / name).read_bytes())
    (tmp_path / "zip_converted.pth").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name, expected in (("evil_legacy", "holds no weights"), ("zip", "is there already")):
        with pytest.raises(SystemExit, match="2"):
            main(["-c", str(CONFIG), "--convert", str(tmp_path / f"{name}.pth")])
        assert expected in capsys.readouterr().err.splitlines()[-1]
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_new_run_begins_with_old_weights(old, converted, make_config, capsys):
    path = str(converted("zip.pth"))
    trainer = build_trainer(make_config({"init_from.checkpoint": path}))
    expected = torch.load(old / "expected.pth", weights_only=True)
    assert all(torch.equal(w, expected[k]) for k, w in trainer.model.state_dict().items())
    assert trainer.start_epoch == 1 and "all 8 weights taken" in capsys.readouterr().out

    other = {"init_from": {"checkpoint": path}, "arch.args.num_classes": 3}
    with pytest.raises(UserError, match="does not fit DigitsModel: size mismatch for fc2.weight"):
        build_trainer(make_config(other))
    capsys.readouterr()
    trainer = build_trainer(make_config(other | {"init_from.strict": False}))
    assert torch.equal(trainer.model.conv1.weight, expected["conv1.weight"])
    assert "6 of 8 weights taken; not taken: fc2.weight, fc2.bias" in capsys.readouterr().out


def test_weights_alone_are_taken_and_none_that_fits_is_a_mistake(make_config, tmp_path):
    weights = DigitsModel().state_dict()
    torch.save(weights, path := tmp_path / "weights.pth")
    new = {"init_from": {"checkpoint": str(path), "strict": False}}
    trainer = build_trainer(make_config(new))
    assert torch.equal(trainer.model.fc1.weight, weights["fc1.weight"])
    torch.save({f"other.{key}": one for key, one in weights.items()}, path)
    with pytest.raises(UserError, match="none of its 8 weights fits DigitsModel"):
        build_trainer(make_config(new))


def test_prefixes_of_wrappers_are_dropped():
    own = DigitsModel().state_dict()
    wrapped = {f"module._orig_mod.{key}": value for key, value in own.items()}
    assert without_prefixes(wrapped).keys() == own.keys()


def test_weights_in_a_file_that_is_not_there_are_one_line(example_parts, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["-c", str(CONFIG), "init_from.checkpoint=none.pth", f"trainer.save_dir={tmp_path}"])
    assert capsys.readouterr().err == "none.pth: cannot be read: No such file or directory\n"
    assert not any(tmp_path.iterdir())
