"""Rounding and pruning of weights by brute force."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sharpscope.data import CONDITIONS, DATASETS, DataSource, altered_cases
from sharpscope.errors import DataError
from sharpscope.seeding import Stream

STREAM = Stream("test")


@pytest.fixture
def model():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(192, 5), nn.LayerNorm(5),
        nn.Linear(5, 10),
    )  # fmt: skip
    with torch.no_grad():
        layers[4].weight[2] = 0.0  # a row without a scale
        layers[4].weight[1, :50] = 0.013  # equal sizes
    return layers


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


LAYERS = ["0.weight", "4.weight", "6.weight"]


@pytest.mark.parametrize("bits", [8, 6, 4, 3])
def test_rounding_by_hand(model, bits):
    weights = parameters(model)
    found = CONDITIONS["quantized"](weights, bits, STREAM)
    assert sorted(found) == LAYERS
    most = {8: 127, 6: 31, 4: 7, 3: 3}[bits]
    for name in LAYERS:
        for row, got in zip(weights[name].double().numpy(), found[name].double().numpy(), strict=True):
            largest = max(abs(value) for value in row.ravel())
            if largest == 0:
                assert not got.any()
                continue
            wanted = [float(np.rint(value / (largest / most))) for value in row.ravel()]
            np.testing.assert_allclose(got.ravel(), np.array(wanted) * largest / most, rtol=1e-6, atol=0)
            assert max(map(abs, wanted)) == most
            assert len(set(wanted)) <= 2 * most + 1


@pytest.mark.parametrize("percent", [50, 80, 90])
def test_pruning_by_hand(model, percent):
    weights = parameters(model)
    found = CONDITIONS["pruned"](weights, percent, STREAM)
    assert sorted(found) == LAYERS
    everything = [(abs(float(value)), name, i) for name in LAYERS for i, value in enumerate(weights[name].flatten())]
    gone = sorted(range(len(everything)), key=lambda k: (everything[k][0], k))[: len(everything) * percent // 100]
    gone = {everything[k][1:] for k in gone}
    for name in LAYERS:
        expected = [0.0 if (name, i) in gone else float(v) for i, v in enumerate(weights[name].flatten())]
        assert found[name].flatten().tolist() == expected
    zeros = sum(int((found[name] == 0).sum()) for name in LAYERS)
    assert zeros == math.floor(len(everything) * percent / 100)


def test_weights_given_are_left_as_they_are(model):
    weights = parameters(model)
    for name in ("quantized", "pruned"):
        for severity in CONDITIONS[name].facts.severities:
            CONDITIONS[name](weights, severity, STREAM)
    assert all(weights[name].equal(p) for name, p in model.named_parameters())


def test_both_move_the_weights_further_with_severity(model):
    for name in ("quantized", "pruned"):
        weights = parameters(model)
        moved = []
        for severity in CONDITIONS[name].facts.severities:
            found = CONDITIONS[name](weights, severity, STREAM)
            moved.append(sum(float(((found[layer] - weights[layer]) ** 2).sum()) for layer in LAYERS))
        assert moved == sorted(set(moved))


@pytest.mark.parametrize("weights", [{}, {"scale": torch.ones(3)}, {"0.weight_v": torch.ones(3, 3)}])
@pytest.mark.parametrize(("name", "severity"), [("quantized", 3), ("pruned", 50)])
def test_a_model_without_what_is_altered_is_refused(name, severity, weights):
    with pytest.raises(DataError, match=r"called `weight` .* the model has .*; leave these scores out"):
        CONDITIONS[name](weights, severity, STREAM)


def test_they_belong_to_all_data(model):
    circles = DATASETS["circles"](DataSource(download=False))
    found = [str(case) for case, _ in altered_cases(circles, ["pruned", "quantized"])]
    assert found == ["pruned-50", "pruned-80", "pruned-90", *(f"quantized-{bits}" for bits in (8, 6, 4, 3))]
