"""Checkpoints of older versions of the template: a run goes on from them with its very batches."""

import json

import pytest

from helpers import PROJECT, ROOT, succeed

OLD = ROOT / "tests" / "old_checkpoints"
NAMES = sorted(path.stem for path in OLD.glob("*.pth"))
GO_ON = """
import runpy, sys
project, *sys.argv = sys.argv[1:]
sys.path.insert(0, project)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_there_are_checkpoints_of_each_kind_and_they_are_small():
    kinds = {"within_an_epoch", "end_of_an_epoch", "len_epoch_within", "len_epoch_end", "skipped"}
    assert {*NAMES} == kinds
    assert all((OLD / f"{name}.pth").stat().st_size < 50_000 for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_an_older_version_goes_on_as_it_would_have(name, tmp_path):
    expected = json.loads((OLD / f"{name}.json").read_text(encoding="utf-8"))
    del expected["place"]  # it is in the file
    output = succeed("-c", GO_ON, PROJECT, OLD / "make.py", name, tmp_path / "saved", cwd=tmp_path)
    found = json.loads(output.splitlines()[-1])
    assert found["seen"] == expected["seen"]
    assert (found["step"], found["n_skipped"]) == (expected["step"], expected["n_skipped"])
    assert found["log"] == pytest.approx(expected["log"], rel=1e-5)
    for key in ("weight", "average"):  # another version of torch may round otherwise
        assert found[key] == (expected[key] and pytest.approx(expected[key], rel=1e-5))
