"""Outputs that are probabilities are noticed before cross-entropy sends them through a second softmax."""

import pytest
import torch
from torch import nn

from sharpscope import measure
from sharpscope.curvature.measure import MEASURES
from sharpscope.errors import SharpscopeError
from sharpscope.seeding import Stream

X = torch.randn(12, 4, generator=Stream("x").torch())
Y = torch.arange(12) % 3
PROBABILITIES = {
    "softmax": nn.Softmax(dim=1),
    "saturated softmax": nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Flatten(1), nn.Softmax(dim=1)),
    "sigmoid": nn.Sigmoid(),
    "sigmoid in another shape": nn.Sequential(nn.Sigmoid(), nn.Unflatten(1, (3, 1)), nn.Flatten(1)),
}
LOGITS = {
    "none": nn.Identity(),
    "log_softmax": nn.LogSoftmax(dim=1),
    "tanh": nn.Tanh(),
    "small and positive": nn.Sequential(nn.Tanh(), nn.Threshold(0.0, 0.1)),
    "sigmoid inside": nn.Sequential(nn.Sigmoid(), nn.Linear(3, 3)),
}


def model(last, scale=1.0):
    with Stream("weights").governing():
        network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), last)
    with torch.no_grad():
        network[2].weight *= scale
    return network


def asked(name):
    options = {"init": None} if name == "distance_from_init" else {}
    return {name: options}


@pytest.mark.parametrize("last", PROBABILITIES.values(), ids=PROBABILITIES)
@pytest.mark.parametrize("loss", ["cross_entropy", nn.CrossEntropyLoss(label_smoothing=0.1)], ids=["name", "module"])
def test_probabilities_are_no_logits(last, loss):
    scale = 1e4 if last is PROBABILITIES["saturated softmax"] else 1.0
    with pytest.raises(SharpscopeError, match=r"cross_entropy takes logits .* outputs are probabilities.* last layer"):
        measure(model(last, scale), (X, Y), ["gradient_norm"], loss=loss)


@pytest.mark.parametrize("last", LOGITS.values(), ids=LOGITS)
def test_logits_are_measured(last):
    assert measure(model(last), (X, Y), ["gradient_norm"])["gradient_norm"].value > 0


def test_log_probabilities_are_as_good_as_logits():
    found = [
        measure(model(LOGITS[name]), (X, Y), ["hessian_trace"])["hessian_trace"] for name in ("none", "log_softmax")
    ]
    assert found[0].value == pytest.approx(found[1].value, rel=1e-5)


@pytest.mark.parametrize(
    "loss", ["mse", lambda outputs, targets: nn.functional.nll_loss(outputs.log(), targets, reduction="none")]
)
def test_other_losses_take_probabilities(loss):
    targets = nn.functional.one_hot(Y).float() if loss == "mse" else Y
    assert measure(model(nn.Softmax(dim=1)), (X, targets), ["gradient_norm"], loss=loss)["gradient_norm"].value > 0


def test_a_single_output_is_no_distribution():
    one = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    assert measure(one, (X, torch.zeros(12, dtype=torch.long)), ["gradient_norm"])["gradient_norm"].value == 0


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "distance_from_init"])
def test_no_measure_takes_probabilities_for_logits(name):
    """Those of the parameters alone look at no outputs."""
    try:
        found = measure(model(nn.Softmax(dim=1)), (X, Y), [name])
    except SharpscopeError:
        return
    assert name in {"parameter_norm"}, found
