"""The error of a subset: intervals that contain it cover the value on all data as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.invariances import MLP
from tests.variants import VARIANTS
from torch import nn

from sharpscope import measure
from sharpscope.curvature.measure import MEASURES, Measured, on_the_rest, run_together
from sharpscope.curvature.passes import Evaluation
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.curvature.sampling import jackknife_error, random_groups_error
from sharpscope.errors import NotDefined
from sharpscope.sharpness import controls

# Variants whose value is a function of sums over samples that one pass finds.
OF_SUMS = {
    "relative_flatness",
    "relative_flatness[normalize=False]",
    "relative_flatness[variant=max_eigenvalue]",
    "fisher_rao_norm",
    "fisher_rao_norm[labels=model]",
    "fisher_rao_norm_analytic",
    "gradient_norm",
    "parameter_norm",
    "head_norm",
    "prediction_entropy",
    "distance_from_init",
    "sam_sharpness",
    "average_case_sharpness",
    "average_case_sharpness[adaptive=True]",
    "average_case_sharpness[logit_normalized=True]",
}

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


def measured_on(asked: dict, samples: slice) -> Measured:
    x, y = MLP.samples()
    init = {name: torch.full(p.shape, 0.1) for name, p in MLP.model().named_parameters()}
    return run_together(Risk(MLP.model(), Batches([(x[samples], y[samples])]), init=init), asked, keep_sums=True)


@pytest.mark.parametrize("split", [4, 1, 11])
def test_sums_tell_of_the_samples_that_are_not_in_a_part(split: int) -> None:
    asked = {}
    for variant in VARIANTS:
        ((key, options),) = variant.asked.items()
        asked[key] = (MEASURES[options.pop("measure")].function.steps, options)
    asked = {key: asked[key] for key in OF_SUMS}
    whole, part = measured_on(asked, slice(None)), measured_on(asked, slice(split))
    expected = measured_on(asked, slice(split, None)).estimates
    assert set(whole.sums) == set(part.sums) == OF_SUMS
    for key, (steps, options) in asked.items():
        found = on_the_rest(whole.risk, steps, options, whole.sums[key], part.sums[key])
        assert found is not None
        assert found.value == pytest.approx(expected[key].value, rel=1e-9), key
        assert found.samples == 12 - split


def test_a_feature_that_only_a_part_moves_is_constant_without_it() -> None:
    model = nn.Linear(2, 3).double()
    x = torch.randn(12, 2, dtype=torch.float64)
    x[4:, 1] = 0.3
    y, steps = torch.arange(12) % 3, MEASURES["relative_flatness"].function.steps
    whole, part, rest = (
        run_together(Risk(model, Batches((x[rows], y[rows]))), {"kappa": (steps, {})}, keep_sums=True)
        for rows in (slice(None), slice(4), slice(4, None))
    )
    expected = rest.estimates["kappa"]
    found = on_the_rest(whole.risk, steps, {}, whole.sums["kappa"], part.sums["kappa"])
    assert found.details["constant_features"] == expected.details["constant_features"] == [1]
    assert found.value == pytest.approx(expected.value, rel=1e-9)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    rest = [float(np.delete(values, i).mean()) for i in range(4)]
    # Squared deviations from 3.5: 6.25 + 2.25 + 0.25 + 12.25 = 21, over 4 * 3.
    assert jackknife_error(3.5, rest) == pytest.approx(math.sqrt(21 / 12), rel=1e-12)
    assert random_groups_error(3.5, list(values)) == pytest.approx(math.sqrt(21 / 12), rel=1e-12)
    assert jackknife_error(3.5, rest, left=0.25) == pytest.approx(math.sqrt(21 / 12) / 2, rel=1e-12)


def test_the_jackknife_counts_the_bias() -> None:
    """The square of a mean is biased by the variance of the mean, which the jackknife finds exactly."""
    values = np.array([-3.0, -1.0, 1.0, 3.0])
    rest = [float(np.delete(values, i).mean() ** 2) for i in range(4)]
    # Without one of them the mean is 1, 1/3, -1/3 or -1, its square 1 or 1/9: on average 5/9, with variance 16/81.
    assert jackknife_error(0.0, rest) == pytest.approx(math.hypot(3 * 5 / 9, math.sqrt(3 * 16 / 81)), rel=1e-12)


def test_the_groups_tell_a_bias_that_falls_with_the_root_of_their_number() -> None:
    """Four groups of a quarter of the samples have twice the norm of a mean that is 0 but for chance."""
    assert random_groups_error(1.0, [2.0, 2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert random_groups_error(1.0, [2.0, 2.0, 2.0, 2.0], left=0.25) == pytest.approx(0.25)
    assert random_groups_error(1.0, [1.0, 3.0]) == pytest.approx(math.hypot(1.0, 1 / (math.sqrt(2) - 1)))


def fitted() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """Return a linear model at the minimum of the risk of its data, where the gradients of the samples cancel."""
    _, (x, y) = problem(1000)
    model = nn.Linear(5, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)
    return model, (x, y)


def test_the_error_of_the_worst_case_at_a_minimum_holds_the_bias_of_a_subset() -> None:
    model, data = fitted()
    truth = measure(model, data, ["worst_case_sharpness"])["worst_case_sharpness"].value
    found = [
        measure(model, data, ["worst_case_sharpness"], subset=100, seed=seed)["worst_case_sharpness"]
        for seed in range(12)
    ]
    assert all(e.value > 3 * truth for e in found)
    off = math.sqrt(np.mean([(e.value - truth) ** 2 for e in found]))
    assert off / 2 < math.sqrt(np.mean([e.stderr**2 for e in found])) < 2 * off
    assert all(abs(e.value - truth) < 2.5 * e.stderr for e in found)


def test_a_value_that_is_not_finite_leaves_the_error_unknown() -> None:
    assert jackknife_error(1.0, [1.0, math.inf]) == math.inf
    assert random_groups_error(1.0, [1.0, math.nan]) == math.inf
    assert random_groups_error(math.nan, [1.0, 2.0]) == math.inf


@pytest.mark.slow
@pytest.mark.parametrize(("size", "covered"), [(64, 0.85), (128, 0.92)])
def test_the_error_is_right_where_few_samples_carry_the_value(size: int, covered: float) -> None:
    """The root of a mean of squares of which 3 in 100 are large and the others next to nothing.

    The spread over groups of 8 samples would state two thirds of the error: a root evens out what groups have none or
    one of. The intervals cover less often than their 95%, since a subset that lacks such samples cannot know of them.
    """
    generator = torch.Generator().manual_seed(0)
    large = torch.rand(4000, 1, generator=generator) < 0.03
    x = torch.where(large, torch.exp(0.3 * torch.randn(4000, 1, generator=generator)), 0.04)
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    data, name = (x, torch.zeros(len(x))), "fisher_rao_norm"
    truth = float(x.double().square().mean().sqrt())
    found = [
        measure(model, data, [name], loss=lambda outputs, _: outputs[:, 0], subset=size, seed=seed)[name]
        for seed in range(200)
    ]
    off = np.array([e.value - truth for e in found])
    stated = np.array([e.stderr for e in found])
    assert math.sqrt(np.mean(stated**2)) == pytest.approx(math.sqrt(np.mean(off**2)), rel=0.15)
    quantile = {64: 2.36, 128: 2.13}[size]  # of Student's t with 7 and 15 degrees of freedom
    assert np.mean(np.abs(off) <= quantile * stated) == pytest.approx(covered, abs=0.06)


def test_losses_that_share_their_weights_are_not_taken_apart() -> None:
    """With class weights a sample's part in the mean depends on the other samples, so that sums do not add up."""
    model, data = problem(400)
    loss, name = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2])), "fisher_rao_norm"
    truth = measure(model, data, [name], loss=loss)[name].value
    found = [measure(model, data, [name], loss=loss, subset=200, seed=seed)[name] for seed in range(15)]
    off = np.array([e.value - truth for e in found])
    stated = np.array([e.stderr for e in found])
    assert math.sqrt(np.mean(stated**2)) == pytest.approx(math.sqrt(np.mean(off**2)), rel=0.5)


def test_a_measure_that_fails_on_a_group_has_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    margins = controls._margins

    def of_many(evaluation: Evaluation) -> torch.Tensor:
        if evaluation.batch.size < 30:
            raise NotDefined("too few samples")
        return margins(evaluation)

    monkeypatch.setattr(controls, "_margins", of_many)
    model, data = problem(400)
    with pytest.warns(UserWarning, match="left out of the default measures: margin: too few samples"):
        found = measure(model, data, subset=100)
    assert list(found.failed) == ["margin"]
    assert "margin" not in found
    assert 0 < found["relative_flatness"].stderr < math.inf
    with pytest.raises(NotDefined, match="margin: too few samples"):
        measure(model, data, ["margin", "gradient_norm"], subset=100)
