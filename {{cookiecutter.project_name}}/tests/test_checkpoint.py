import numpy as np
import pytest
import torch

from train import build_trainer
from utils import UserError
from utils.checkpoint import load_checkpoint, save_checkpoint


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


PARTS = ["state_dict", "optimizer", "lr_scheduler", "random", "step", "epoch", "monitor_best"]


def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_not_touched(make_config):
    straight = build_trainer(make_config({"trainer.epochs": 4, "trainer.keep_last": None}))
    straight.train()
    stopped = build_trainer(make_config({"trainer.epochs": 2}))
    stopped.train()
    torch.rand(7), np.random.rand(7)  # a new process has other random states
    checkpoint = stopped.checkpoint_dir / "checkpoint-epoch2.pth"
    resumed = build_trainer(make_config({"trainer.epochs": 4}, resume=checkpoint))
    resumed.train()

    assert resumed.checkpoint_dir == stopped.checkpoint_dir != straight.checkpoint_dir
    ends = [
        load_checkpoint(t.checkpoint_dir / "checkpoint-epoch4.pth") for t in (straight, resumed)
    ]
    for part in [*PARTS, "not_improved_count"]:
        assert same(ends[0][part], ends[1][part]), part
    tables = [(t.checkpoint_dir / "metrics.csv").read_text() for t in (straight, resumed)]
    assert tables[0] == tables[1]


def test_resuming_from_an_earlier_epoch_drops_the_rows_after_it(make_config):
    first = build_trainer(make_config({"trainer.epochs": 3}))
    first.train()
    table = (first.checkpoint_dir / "metrics.csv").read_text()
    checkpoint = first.checkpoint_dir / "checkpoint-epoch1.pth"
    build_trainer(make_config({"trainer.epochs": 3}, resume=checkpoint)).train()
    assert (first.checkpoint_dir / "metrics.csv").read_text() == table


def test_early_stopping_goes_on_counting_after_a_resume(make_config):
    changes = {"trainer.monitor": "max loss", "trainer.early_stop": 3, "trainer.epochs": 2}
    first = build_trainer(make_config(changes))
    first.train()  # the loss falls: epoch 1 stays the best
    checkpoint = first.checkpoint_dir / "checkpoint-epoch2.pth"
    again = build_trainer(make_config(changes | {"trainer.epochs": 9}, resume=checkpoint))
    assert again.train()["epoch"] == 4
    over = again.checkpoint_dir / "checkpoint-epoch4.pth"
    assert build_trainer(make_config(changes | {"trainer.epochs": 9}, resume=over)).train() == {}


def test_a_checkpoint_is_read_with_weights_only_and_names_its_model(make_trainer):
    trainer = make_trainer()
    trainer.train()
    for file in trainer.checkpoint_dir.glob("*.pth"):
        state = torch.load(file, weights_only=True)
        assert state["arch"] == type(trainer.model).__name__
        assert state["config"] == trainer.config.config and type(state["config"]) is dict


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "checkpoint.pth"
    save_checkpoint({"state_dict": {"weight": torch.ones(2)}, "best": np.float64(0.5)}, path)
    with pytest.raises(TypeError, match=r"checkpoint.optimizer\[0\].hook is a function"):
        save_checkpoint({"state_dict": {}, "optimizer": [{"hook": lambda: 0}]}, path)
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint.pth"]
    assert load_checkpoint(path)["best"] == 0.5


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


def test_bad_files_are_one_clear_line_and_run_no_code(tmp_path):
    path = tmp_path / "bad.pth"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(UserError, match="refused, holds more than tensors"):
        load_checkpoint(path)
    torch.save({"state_dict": {"w": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-500])
    for content in (path.read_bytes(), b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="bad.pth: "):
            load_checkpoint(path)
    with pytest.raises(UserError, match="No such file"):
        load_checkpoint(tmp_path / "none.pth")
