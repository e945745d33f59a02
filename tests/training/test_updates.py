"""Each update step beyond the plain one, against a derivation by hand on the loss sum(c x^2) / 2."""

from functools import partial

import numpy as np
import pytest
import torch
from tests.training.quadratic import (
    CURVATURE,
    INPUTS,
    TARGETS,
    Point,
    descent,
    on_quadratics,
    on_samples,
    small_net,
)

from sharpscope.seeding import Stream
from sharpscope.training import REGIMES, Recipe
from sharpscope.training.steps import Step
from sharpscope.training.updates.esam import EfficientSam
from sharpscope.training.updates.fsam import FriendlySam
from sharpscope.training.updates.gradient_norm import PenalizedGradient
from sharpscope.training.updates.gsam import GapSam
from sharpscope.training.updates.looksam import LookSam
from sharpscope.training.updates.msam import MomentumSam
from sharpscope.training.updates.sam import Sam

C = CURVATURE.numpy()
START = np.array([1.0, 2.0, -1.0])
LR, RHO = 0.1, 0.7

UPDATES = {
    "sam": partial(Sam, rho=RHO),
    "asam": partial(Sam, rho=RHO, adaptive=True),
    "looksam": partial(LookSam, rho=RHO, every=2, alpha=0.7),
    "fsam": partial(FriendlySam, rho=RHO, sigma=1.0, decay=0.9),
    "gsam": partial(GapSam, rho=RHO, alpha=0.4),
    "esam": partial(EfficientSam, rho=RHO, beta=0.5, gamma=0.5),
    "msam": partial(MomentumSam, rho=RHO),
    "gradient_norm_penalty": partial(PenalizedGradient, rho=RHO, strength=0.3),
}


def unit(vector):
    return vector / np.linalg.norm(vector)


def across(vector, to):
    return vector - vector @ unit(to) * unit(to)


def walk(update, steps, centers=None, **options):
    """Return the points that the update visits on the quadratic, or on the mean of several."""
    point = Point(*START)
    step, backward = update(point, descent(point, lr=LR, **options)), on_quadratics(point, centers)
    visited = []
    with Stream("walk").governing():
        for _ in range(steps):
            step(backward)
            visited.append(point.values.numpy().copy())
    return visited


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_looksam_reuses_the_part_across_the_gradient():
    expected, x = [], START
    for number in range(4):
        g = C * x
        if number % 2 == 0:
            used = C * (x + RHO * unit(g))
            kept = across(used, g)
        else:
            used = g + 0.7 * np.linalg.norm(g) * unit(kept)
        x = x - LR * used
        expected.append(x)
    assert_same(walk(UPDATES["looksam"], 4), expected)


def test_looksam_at_every_step_is_sam():
    every_step = partial(LookSam, rho=RHO, every=1, alpha=0.7)
    assert_same(walk(every_step, 3), walk(UPDATES["sam"], 3))


def test_friendly_sam_climbs_by_the_gradient_less_its_average():
    expected, x = [], START
    average = np.zeros(3)
    for number in range(3):
        g = C * x
        used = C * (x + RHO * unit(g - average))
        average = g if number == 0 else 0.9 * average + 0.1 * g
        x = x - LR * used
        expected.append(x)
    assert_same(walk(UPDATES["fsam"], 3), expected)


# Four quadratics: their losses at a point differ, and so does what an ascent makes of them.
CENTERS = torch.tensor([[0.5, 0.0, 1.0], [-3.0, 1.0, 0.0], [2.0, -2.0, 1.0], [-1.0, 0.0, 4.0]], dtype=torch.float64)


def losses(x):
    return (C * (x + CENTERS.numpy()) ** 2).sum(1) / 2


def slope(x, chosen=slice(None)):
    return (C * (x + CENTERS.numpy()[chosen])).mean(0)


def test_efficient_sam_descends_by_the_samples_whose_loss_rises_most():
    expected, x, seen = [], START, []
    for _ in range(3):
        there = x + RHO * unit(slope(x))
        chosen = np.argsort(losses(there) - losses(x))[-2:]
        x = x - LR * slope(there, chosen)
        expected.append(x)
        seen.append(set(chosen))
    assert seen[0] != set(np.argsort(losses(START))[-2:]), "not those with the largest loss"
    assert_same(walk(partial(EfficientSam, rho=RHO, beta=1, gamma=0.5), 3, CENTERS), expected)


def test_efficient_sam_climbs_along_the_parameters_that_it_draws():
    # The point has two parameters, of one and of two coordinates.
    beta, steps = 0.4, 12
    with Stream("walk").governing():
        drawn = [(torch.rand(2) < beta).numpy() for _ in range(steps)]
    assert {tuple(one) for one in drawn} == {(False, False), (True, False), (False, True), (True, True)}
    expected, x = [], START
    for first, rest in drawn:
        g = slope(x) * np.array([first, rest, rest])
        there = x + RHO / beta * unit(g) if first or rest else x
        x = x - LR * slope(there)
        expected.append(x)
    assert_same(walk(partial(EfficientSam, rho=RHO, beta=beta, gamma=1), steps, CENTERS), expected)


def test_efficient_sam_with_all_weights_and_samples_is_sam_and_draws_nothing():
    whole = partial(EfficientSam, rho=RHO, beta=1, gamma=1)
    assert np.array_equal(walk(whole, 3, CENTERS), walk(UPDATES["sam"], 3, CENTERS))
    step, state = whole(point := Point(*START), descent(point)), torch.get_rng_state()
    step(on_quadratics(point))
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(("samples", "chosen"), [(1, 1), (2, 2), (3, 2), (8, 2), (10, 3)])
def test_efficient_sam_leaves_batch_norm_two_samples_where_there_are_two(samples, chosen):
    model, seen = small_net(batch_norm=False), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    step = EfficientSam(model, descent(model), rho=RHO, beta=1, gamma=0.3)
    step(on_samples(model, torch.ones(samples, 4, dtype=torch.float64), torch.zeros(samples, dtype=torch.int64)))
    assert seen == [samples, samples, chosen]


def test_gap_guided_sam_subtracts_the_orthogonal_part():
    expected, x = [], START
    for _ in range(3):
        g = C * x
        sharp = C * (x + RHO * unit(g))
        x = x - LR * (sharp - 0.4 * across(g, sharp))
        expected.append(x)
    assert_same(walk(UPDATES["gsam"], 3), expected)


def test_momentum_sam_takes_the_gradient_along_the_momentum():
    expected, x = [], START
    velocity = np.zeros(3)
    for number in range(3):
        there = x - RHO * unit(velocity) if number else x
        velocity = 0.9 * velocity + C * there
        x = x - LR * velocity
        expected.append(x)
    assert_same(walk(UPDATES["msam"], 3, momentum=0.9), expected)


def test_the_penalty_on_the_gradient_norm_is_exact_on_a_quadratic():
    # The gradient of |g| is H g / |g|; along g / |g| the finite difference is exact on any quadratic.
    expected, x = [], START
    for _ in range(3):
        g = C * x
        x = x - LR * (g + 0.3 * C * unit(g))
        expected.append(x)
    assert_same(walk(UPDATES["gradient_norm_penalty"], 3), expected)


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_stays_at_the_minimum(name):
    point = Point(0.0, 0.0, 0.0)
    step = UPDATES[name](point, descent(point, momentum=0.9))
    for _ in range(3):
        step(on_quadratics(point))
    assert point.values.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", UPDATES)
def test_batch_norm_sees_one_pass_a_step(name):
    model = small_net()
    step = UPDATES[name](model, descent(model, momentum=0.9))
    for count in (1, 2, 3):
        step(on_samples(model, INPUTS, TARGETS))
        assert model[1].num_batches_tracked.item() == count


@pytest.mark.parametrize("name", UPDATES)
def test_frozen_and_unused_parameters_are_left_alone(name):
    model = small_net()
    model[0].weight.requires_grad_(False)
    model.append(type(model[0])(3, 3).double())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    step, backward = UPDATES[name](model, descent(model, momentum=0.9)), on_samples(model[:4], INPUTS, TARGETS)
    with Stream("frozen").governing():
        for _ in range(5):
            model.zero_grad()
            step(backward)
    changed = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    assert changed.isdisjoint({"0.weight", "4.weight", "4.bias"})
    assert {"1.bias", "3.weight", "3.bias"} <= changed


@pytest.mark.parametrize("name", UPDATES)
def test_a_step_that_raises_has_changed_nothing(name):
    model = small_net(batch_norm=False)
    step, backward = UPDATES[name](model, descent(model, momentum=0.9)), on_samples(model, INPUTS, TARGETS)
    step(backward)
    step(backward)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    state = {key: str(value) for key, value in step.state_dict().items()}
    left = [] if name == "msam" else [1]  # which pass fails: the last of the step

    class Failing:
        losses = staticmethod(backward.losses)

        def __call__(self, **how):
            found = backward(**how)
            if not left:
                raise RuntimeError("overflow")
            left.pop()
            return found

    with pytest.raises(RuntimeError, match="overflow"):
        step(Failing())
    assert all(a.equal(b) for a, b in zip(weights, model.parameters(), strict=True))
    assert {key: str(value) for key, value in step.state_dict().items()} == state


@pytest.mark.parametrize("name", UPDATES)
def test_every_update_is_the_regime_of_its_name(name):
    made = REGIMES[name](Recipe(optimizer_options={"momentum": 0.9}))
    assert made.update.func is UPDATES[name].func
    assert issubclass(made.update.func, Step)
