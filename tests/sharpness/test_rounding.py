"""Perturbations so small that rounding rules: the error holds it, or the value says that it is none to rely on."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import pytest
import torch
from torch import nn

from sharpscope import Estimate, measure

RADII = [10.0**-k for k in range(2, 13)]
X = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(300) % 3


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def in_double(model: nn.Module, name: str, **options: Any) -> float:
    return measure(copy.deepcopy(model).double(), (X.double(), Y), {name: options})[name].value


def in_single(model: nn.Module, name: str, **options: Any) -> Estimate:
    return measure(model, (X, Y), {name: options})[name]


@functools.cache
def curvature(norm: str, adaptive: bool) -> float:
    """Return the average case over the square of a small radius."""
    rho = 1e-3
    options = {"norm": norm, "adaptive": adaptive, "rho": rho, "draws": 1000}
    return in_double(network(), "average_case_sharpness", **options) / (rho * rho)


def is_told(found: Estimate, truth: float) -> bool:
    """Tell whether an estimate is right within its error, or says that its error is not known."""
    if math.isnan(found.stderr):
        return not found.converged
    return abs(found.value - truth) <= 4 * found.stderr


@pytest.mark.parametrize("rho", RADII)
def test_sam_sharpness_is_right_or_says_that_it_is_not(rho: float) -> None:
    model = network()
    truth = in_double(model, "sam_sharpness", method="expansion", rho=rho)
    found = in_single(model, "sam_sharpness", rho=rho)
    assert is_told(found, truth)
    assert found.converged == (rho > 5e-7)
    assert found.converged or "choose a larger rho" in found.details["reason"]


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("rho", RADII)
def test_average_case_sharpness_is_right_or_says_that_it_is_not(rho: float, norm: str, adaptive: bool) -> None:
    model = network()
    options = {"norm": norm, "adaptive": adaptive}
    found = in_single(model, "average_case_sharpness", rho=rho, **options)
    assert is_told(found, curvature(norm, adaptive) * rho * rho)
    assert found.converged or "choose a larger rho" in found.details["reason"]
    assert found.converged or rho < 1e-2


@pytest.mark.parametrize("m", [None, 50])
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("rho", RADII)
def test_worst_case_sharpness_is_right_or_says_that_it_is_not(
    rho: float, norm: str, adaptive: bool, m: int | None
) -> None:
    model = network()
    options = {"norm": norm, "adaptive": adaptive, "rho": rho, "m": m}
    truth = in_double(model, "worst_case_sharpness", **options)
    found = in_single(model, "worst_case_sharpness", **options)
    assert is_told(found, truth)
    assert found.converged or "choose a larger rho" in found.details["reason"]
    assert found.converged or rho < 1e-5


def test_usual_perturbations_are_above_all_rounding() -> None:
    """The error of usual radii is that of the draws, and double precision goes further down."""
    for name in ("sam_sharpness", "average_case_sharpness", "worst_case_sharpness"):
        assert in_single(network(), name).converged
        double = measure(network().double(), (X.double(), Y), {name: {"rho": 1e-5}})[name]
        assert double.converged
        assert double.details.get("reason") is None
        assert double.stderr < abs(double.value) / 2
