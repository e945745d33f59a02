"""A value does not depend on what else is asked for, also where a forward pass treats gradients in its own way.

All pairs of measures are the slow tests. What a pass does follows from what all its measures need together, so a few
that need different things, and all at once, stand for them in the default suite.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from functools import cache

import pytest
import torch
from tests.cut import masked, network, samples
from tests.variants import SMALL, VARIANTS, Variant
from torch import Tensor, nn

from sharpscope.curvature.measure import MEASURES
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined
from sharpscope.measurement import measure_risk

EVERY = [Variant(name) for name in MEASURES]
# One for each thing that a pass may have to do.
UNLIKE = [
    Variant(name)
    for name in (
        "sam_sharpness",
        "relative_flatness",
        "fisher_rao_norm",
        "gradient_norm",
        "hessian_top_eigenvalue",
        "worst_case_sharpness",
    )
]
FEWER = {"draws": 4, "starts": 2, "steps": 3, "sketch": 2, "probes": 2, "segments": 2}
assert FEWER.keys() == SMALL.keys()


def model_and_data(name: str) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return masked() if name == "masked" else (network(name), samples(name))


def values(name: str, variants: Iterable[Variant]) -> dict[str, float]:
    """Return the values that exist, of some measures asked for together."""
    model, data = model_and_data(name)
    init = {name: torch.full(p.shape, 0.1) for name, p in model.named_parameters()}
    asked = {}
    for variant in variants:
        few = {k: v for k, v in FEWER.items() if MEASURES[variant.name].defaults.get(k, 0) > v}
        asked[variant.key] = {"measure": variant.name, **few, **dict(variant.given)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no gradient reaches")
        found = measure_risk(Risk(model, Batches([data]), init=init), asked, noted=(NotDefined,))
    return {key: estimate.value for key, estimate in found.items()}


@cache
def alone(name: str, variant: Variant) -> dict[str, float]:
    return values(name, [variant])


def compare(name: str, variants: Iterable[Variant]) -> None:
    """See that measures have the values together that they have alone."""
    variants = list(variants)
    expected = {k: v for variant in variants for k, v in alone(name, variant).items()}
    found = values(name, variants)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-12)


NETWORKS = ["convolution", "no_grad", "masked"]


@pytest.mark.parametrize("name", ["convolution", "masked"])
def test_pairs_of_measures_that_need_different_things(name: str) -> None:
    for pair in itertools.combinations(UNLIKE, 2):
        compare(name, pair)


@pytest.mark.parametrize("name", NETWORKS)
def test_measures_that_need_different_things_among_all(name: str) -> None:
    found = values(name, EVERY)
    for variant in UNLIKE:
        assert found[variant.key] == pytest.approx(alone(name, variant)[variant.key], rel=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_all_measures_at_once(name: str) -> None:
    compare(name, EVERY)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.key)
@pytest.mark.parametrize("name", NETWORKS)
def test_all_pairs(name: str, variant: Variant) -> None:
    for other in EVERY:
        if other != variant:
            compare(name, [variant, other])
