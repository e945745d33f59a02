"""The error of a subset: intervals that contain it cover the value on all data as often as they say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sharpscope import measure

ASKED: dict[str, dict[str, object]] = {
    "relative_flatness": {},
    "fisher_rao_norm": {},
    "margin": {},
    "gradient_norm": {},
    "parameter_norm": {},
}


def problem(samples: int = 4000) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 5, generator=generator)
    y = (x @ torch.randn(5, 3, generator=generator) + torch.randn(samples, 3, generator=generator)).argmax(dim=1)
    # Sorted by class, as many datasets are: groups must be drawn at random.
    order = y.argsort()
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.7 * torch.randn(p.shape, generator=generator))
    return model, (x[order], y[order])


@pytest.mark.slow
def test_intervals_cover_the_value_on_all_data() -> None:
    model, data = problem()
    truth = measure(model, data, ASKED)
    covered = dict.fromkeys(ASKED, 0)
    for seed in range(60):
        found = measure(model, data, ASKED, subset=600, seed=seed)
        for name, estimate in found.items():
            covered[name] += abs(estimate.value - truth[name].value) <= 2.13 * estimate.stderr
    assert covered.pop("parameter_norm") == 60
    # 60 intervals of 95% by the t distribution with 15 degrees of freedom: 57 expected, standard deviation 1.7.
    assert all(50 <= count <= 60 for count in covered.values()), covered


def test_the_subset_is_said_and_exact_values_stay_exact() -> None:
    model, data = problem(400)
    found = measure(model, data, ["relative_flatness", "parameter_norm"], subset=100)
    assert found["relative_flatness"].samples == 100
    assert found["relative_flatness"].details["population"] == 400
    assert found["relative_flatness"].stderr == found["relative_flatness"].details["sampling_stderr"] > 0
    assert found["parameter_norm"].stderr == 0


def test_all_data_leave_no_sampling_error() -> None:
    model, data = problem(100)
    found = measure(model, data, ["fisher_rao_norm"], subset=100)["fisher_rao_norm"]
    assert found.stderr == 0
    assert found.value == pytest.approx(measure(model, data, ["fisher_rao_norm"])["fisher_rao_norm"].value, rel=1e-6)


def test_a_subset_too_small_to_divide_has_no_known_error() -> None:
    model, data = problem(100)
    assert math.isinf(measure(model, data, ["fisher_rao_norm"], subset=10)["fisher_rao_norm"].stderr)


def test_loaders_and_datasets_serve_alike() -> None:
    model, (x, y) = problem(300)
    loader = [(x[i : i + 70], y[i : i + 70]) for i in range(0, 300, 70)]
    found = measure(model, loader, ["fisher_rao_norm"], subset=160)["fisher_rao_norm"]
    truth = measure(model, (x, y), ["fisher_rao_norm"])["fisher_rao_norm"]
    assert 0 < abs(found.value - truth.value) < 4 * found.stderr
