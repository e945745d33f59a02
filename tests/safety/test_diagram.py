"""What is kept for a reliability diagram, against arithmetic and plain draws."""

import json
import math

import numpy as np
import pytest
from scipy.special import log_softmax

from sharpscope.safety import SCORES, Predictions, Split
from sharpscope.safety.diagram import DOUBT, diagram


@pytest.fixture
def split():
    rng = np.random.default_rng(0)
    logits = 4 * rng.normal(size=(600, 10))
    probabilities = np.exp(log_softmax(logits, axis=1)).cumsum(axis=1)
    return Split(logits, (rng.random((600, 1)) > probabilities[:, :-1]).sum(axis=1))


def test_it_is_plain_data_of_all_samples(split):
    found = diagram(split)
    assert json.loads(json.dumps(found)) == found
    bins, order = found["bins"], np.argsort(split.confidence)
    assert bins["count"] == [40] * 15
    assert bins["confidence"] == pytest.approx(split.confidence[order].reshape(15, 40).mean(axis=1).tolist())
    assert bins["accuracy"] == pytest.approx(split.correct[order].reshape(15, 40).mean(axis=1).tolist())
    run = Predictions(split, split)
    assert found["values"]["ece"] == SCORES["ece"](run)
    assert found["values"]["null"] == SCORES["ece_null"](run)
    assert found["values"]["sure"] == (split.confidence > 0.9).mean()
    assert sum(found["doubt"]) == 600
    assert sum(found["doubt"][-2:]) == (1 - split.confidence >= 0.1).sum()


def test_the_band_holds_nine_calibrated_models_of_ten(split):
    bins, order = diagram(split)["bins"], np.argsort(split.confidence)
    confidence, rng = split.confidence[order], np.random.default_rng(1)
    right = (rng.random((2000, 600)) < confidence).reshape(2000, 15, 40).mean(axis=2)
    inside = (right >= bins["low"]) & (right <= bins["high"])
    # A count cannot be cut at exactly a twentieth, so that the band holds more.
    assert inside.mean(axis=0).min() > 0.9
    # Nor is it wider than it must be: the least counts that are reached with 5% and with 95%.
    for n, p, low, high in zip(*(bins[name] for name in ("count", "confidence", "low", "high")), strict=True):
        reached = np.cumsum([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
        assert low == np.argmax(reached >= 0.05) / n
        assert high == np.argmax(reached >= 0.95) / n


def test_certainty_is_told_from_near_certainty():
    margins = np.array([1000.0, 20.0, 10.0, 0.0])
    split = Split(np.stack([margins, np.zeros(4)], axis=1), np.zeros(4, int))
    found = diagram(split)
    # 1 - confidence is 0, 2.1e-9, 4.5e-5 and 0.5; the first two are below all borders.
    assert np.flatnonzero(found["doubt"]).tolist() == [0, 7, 15]
    assert found["doubt"][0] == 2
    assert DOUBT[7] < 4.5e-5 < DOUBT[8]
    assert found["bins"]["high"][-1] == 1.0


def test_one_sample_has_a_diagram():
    found = diagram(Split(np.array([[2.0, 0.0]]), np.array([1])))
    assert found["bins"]["count"] == [1]
    assert found["bins"]["accuracy"] == [0.0]
    assert (found["bins"]["low"], found["bins"]["high"]) == ([0.0], [1.0])
