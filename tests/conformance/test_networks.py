"""Every measure on networks as they are trained: residual ones with BatchNorm, a transformer, one with tied weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from tests.cases import CLASSES, Tied
from tests.oracle import CLOSED_FORMS, closed_forms
from tests.variants import STATES_ROUNDING, Variant
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.curvature.measure import MEASURES
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined
from sharpscope.models import build
from sharpscope.seeding import Stream

SAMPLES = 16
# Defined for inputs of two numbers only; tests of its own have it.
IN_THE_PLANE = {"boundary_length"}
# Defined for piecewise linear networks only, and slow for deep ones; likewise.
PIECEWISE_LINEAR = {"linear_regions"}


@dataclass(frozen=True)
class Net:
    """A network and the shape of its inputs."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def samples(self) -> tuple[Tensor, Tensor]:
        """Return inputs and targets in single precision."""
        inputs = torch.randn(SAMPLES, *self.shape, generator=Stream(0, "inputs").torch())
        return inputs, torch.arange(SAMPLES) % CLASSES


def built(name: str, shape: tuple[int, ...], **options: int) -> Net:
    return Net(name, lambda: build(name, shape, CLASSES, Stream(0, "init"), **options), shape)


NETS = [
    built("resnet8", (1, 8, 8)),
    built("resnet20", (1, 28, 28), width=4),
    built("vit", (1, 8, 8), patch=4, dim=16, depth=2, heads=2, head_dim=8, mlp_dim=16),
    Net("tied", Tied, (5,)),
]
every_net = pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
# The twenty layers take half a minute with all measures.
every_net_in_time = pytest.mark.parametrize(
    "net", [pytest.param(net, id=net.name, marks=[pytest.mark.slow] * (net.name == "resnet20")) for net in NETS]
)


@cache
def trained(net: Net) -> nn.Module:
    """Return the network after a few steps of training, in train mode."""
    inputs, targets = net.samples()
    with Stream(0, "training").governing():
        model = net.make().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(10):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    return model


def in_double(net: Net) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    inputs, targets = net.samples()
    return copy.deepcopy(trained(net)).double(), (inputs.double(), targets)


@every_net_in_time
@pytest.mark.parametrize("name", [name for name in MEASURES if name not in IN_THE_PLANE | PIECEWISE_LINEAR])
def test_every_measure_has_a_value_that_precision_does_not_move(net: Net, name: str) -> None:
    variant = Variant(name)
    found = variant.on(trained(net), net.samples(), batch_size=6)
    model, data = in_double(net)
    expected = variant.on(model, data, batch_size=6)
    assert math.isfinite(found.value)
    assert math.isfinite(found.stderr)
    assert found.samples == SAMPLES
    if variant.facts.exact:
        assert found.stderr <= (1e-5 * abs(found.value) if name in STATES_ROUNDING else 0)
        assert found.value == pytest.approx(expected.value, rel=1e-4)
    elif found.converged and expected.converged:
        error = 5 * math.hypot(found.stderr, expected.stderr)
        assert found.value == pytest.approx(expected.value, rel=1e-4, abs=error)


@pytest.mark.parametrize("name", IN_THE_PLANE)
def test_measures_of_the_plane_are_refused_elsewhere(name: str) -> None:
    with pytest.raises(NotDefined, match="two floating-point numbers"):
        measure(trained(NETS[-1]), NETS[-1].samples(), [name])


@every_net
def test_closed_forms_are_those_of_the_definitions(net: Net) -> None:
    model, data = in_double(net)
    found = measure(model, data, CLOSED_FORMS, batch_size=6)
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    for name, value in closed_forms(Risk(model, Batches(data, batch_size=6)), head).items():
        assert found[name].value == pytest.approx(value, rel=1e-9)
