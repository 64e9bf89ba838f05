import weakref

import pytest
import torch

from utils import MetricTracker, UserError


def test_means_are_weighted_by_samples():
    tracker = MetricTracker("loss")
    tracker.update("loss", torch.tensor(1.0), n=3)
    tracker.update("loss", 5.0, n=1)
    tracker.update("f1", (torch.tensor([0.5]), 8))
    tracker.update("f1", (0.0, 8))
    assert tracker.result() == {"loss": 2.0, "f1": 0.25} and tracker.avg("loss") == 2.0
    tracker.reset()
    assert tracker.result() == {}


def test_window_is_the_mean_since_the_last_one():
    tracker = MetricTracker()
    tracker.update("loss", torch.tensor(1.0), n=2)
    assert tracker.window() == {"loss": 1.0}
    assert tracker.window() == {}
    tracker.update("loss", torch.tensor(4.0), n=1)
    assert tracker.window() == {"loss": 4.0} and tracker.result() == {"loss": 2.0}


def test_many_small_values_do_not_lose_precision():
    tracker = MetricTracker()
    for _ in range(3):
        tracker.update("count", torch.tensor(1.0), n=2**24 + 1)
    assert tracker.result() == {"count": 1.0}


def test_a_value_does_not_keep_its_graph():
    tracker = MetricTracker()
    graph = torch.ones(1, requires_grad=True) * 2
    node = weakref.ref(graph)
    tracker.update("loss", graph.sum() / 2)
    del graph
    assert node() is None
    tracker.update("loss", 2.0)
    assert tracker.result() == {"loss": 1.5}


def test_what_is_no_number_is_named():
    for bad in ("much", torch.ones(2)):
        tracker = MetricTracker()
        tracker.update("loss", bad)
        with pytest.raises(UserError, match="'loss' is no number"):
            tracker.result()
