"""Test functions of optimization, against what is published of them."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import rosen

from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import SharpscopeError
from sharpscope.extend import FUNCTIONS
from sharpscope.task import REGRESSION

OFFLINE = DataSource(download=False)

# Minima as published, and other values by hand.
KNOWN = {
    "sphere": {(0, 0): 0, (3, -4): 9 + 16},
    "booth": {(1, 3): 0, (0, 0): 49 + 25},
    "three_hump_camel": {
        (0, 0): 0,
        (1, 1): 2 - 1.05 + 1 / 6 + 1 + 1,
        (1.747552345, -0.873776173): 0.298638442,
    },
    "himmelblau": {
        (3, 2): 0,
        (-2.805118, 3.131312): 0,
        (-3.779310, -3.283186): 0,
        (3.584428, -1.848126): 0,
        (-0.270845, -0.923039): 181.617,
    },
    "rosenbrock": {(1, 1): 0, (0, 0): 1, (-1.2, 1): 24.2},
    "beale": {(3, 0.5): 0, (0, 0): 1.5**2 + 2.25**2 + 2.625**2},
    "rastrigin": {(0, 0): 0, (0.5, 0.5): 20 + 2 * (0.25 + 10), (1, -2): 1 + 4},
    "ackley": {(0, 0): 0, (1, 1): 20 - 20 * math.exp(-0.2) + math.e - math.e},
    "griewank": {(0, 0): 0, (math.pi, 0): 2 + math.pi**2 / 4000},
}


def at(name, x, y):
    return float(FUNCTIONS[name](torch.tensor([x]).double(), torch.tensor([y]).double())[0])


def test_every_function_is_known_here():
    assert set(FUNCTIONS) == set(KNOWN)


@pytest.mark.parametrize(("name", "point"), [(name, point) for name, values in KNOWN.items() for point in values])
def test_a_function_has_its_published_values(name, point):
    assert at(name, *point) == pytest.approx(KNOWN[name][point], abs=1e-6, rel=1e-5)


@pytest.mark.parametrize("name", KNOWN)
def test_no_value_is_below_the_minimum(name):
    x, y = np.meshgrid(*[np.linspace(-3.5, 3.5, 141)] * 2)
    values = FUNCTIONS[name](torch.from_numpy(x), torch.from_numpy(y))
    assert values.shape == (141, 141)
    assert float(values.min()) >= -1e-9


def test_rosenbrock_is_that_of_scipy():
    x, y = np.random.default_rng(0).uniform(-3.5, 3.5, (2, 50))
    found = FUNCTIONS["rosenbrock"](torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(found.numpy(), rosen(np.array([x, y])), rtol=1e-12)


def test_points_are_uniform_and_the_same_for_every_function():
    sphere = DATASETS["objective"](OFFLINE)
    beale = DATASETS["objective"](OFFLINE, function="beale")
    assert sphere.train_inputs.shape == sphere.test_inputs.shape == (10_000, 2)
    assert sphere.train_inputs.equal(beale.train_inputs)
    assert sphere.test_inputs.equal(beale.test_inputs)
    assert not sphere.train_inputs.equal(sphere.test_inputs)
    assert (sphere.task, sphere.outputs, sphere.region) == (REGRESSION, 1, (-3.5, 3.5, -3.5, 3.5))
    for points in (sphere.train_inputs, sphere.test_inputs):
        assert float(points.abs().max()) < 3.5
        # Three standard errors of a mean and a variance of 10,000 uniform numbers, whose kurtosis is 1.8.
        assert points.mean(dim=0).tolist() == pytest.approx([0, 0], abs=3 * 3.5 / math.sqrt(3) / 100)
        assert points.var(dim=0).tolist() == pytest.approx([3.5**2 / 3] * 2, rel=3 * math.sqrt(0.8) / 100)
    assert sphere.normalize(sphere.train_inputs).equal(sphere.train_inputs)


def test_targets_are_values_at_the_points_that_a_model_is_given():
    data = DATASETS["objective"](OFFLINE, function="booth", samples=50)
    x, y = data.test_inputs.double().T
    torch.testing.assert_close(data.test_targets, FUNCTIONS["booth"](x, y).float())
    torch.testing.assert_close(data.truth(data.test_inputs), data.test_targets)


def test_fewer_points_are_the_first_of_more_and_a_seed_gives_others():
    few, many = (DATASETS["objective"](OFFLINE, samples=n) for n in (10, 1000))
    assert few.train_inputs.equal(many.train_inputs[:10])
    assert few.digest == DATASETS["objective"](OFFLINE, samples=10).digest
    assert not few.train_inputs.equal(DATASETS["objective"](OFFLINE, samples=10, seed=1).train_inputs)


def test_points_fill_the_region_asked_for():
    data = DATASETS["objective"](OFFLINE, region=(0, 1, 10, 30))
    low, high = data.train_inputs.amin(dim=0).tolist(), data.train_inputs.amax(dim=0).tolist()
    assert (low, high) == (pytest.approx([0, 10], abs=0.02), pytest.approx([1, 30], abs=0.02))


@pytest.mark.parametrize("name", KNOWN)
def test_standardized_targets_have_unit_variance_in_training_and_one_map_for_both_splits(name):
    plain, scaled = (DATASETS["objective"](OFFLINE, function=name, standardize=flag) for flag in (False, True))
    targets = scaled.train_targets.double()
    assert float(targets.mean()) == pytest.approx(0, abs=1e-6)
    assert float(targets.var(correction=0)) == pytest.approx(1, rel=1e-5)
    mean, std = plain.train_targets.double().mean(), plain.train_targets.double().std(correction=0)
    expected = ((plain.test_targets.double() - mean) / std).float()
    torch.testing.assert_close(scaled.test_targets, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scaled.truth(scaled.test_inputs), scaled.test_targets)


def test_a_function_of_ones_own_is_named_by_module_and_function(tmp_path, monkeypatch):
    (tmp_path / "my_hills.py").write_text("def hills(x, y):\n    return x.sin() * y.cos()\n")
    monkeypatch.chdir(tmp_path)
    data = DATASETS["objective"](OFFLINE, function="my_hills:hills", samples=20)
    x, y = data.train_inputs.double().T
    torch.testing.assert_close(data.train_targets, (x.sin() * y.cos()).float())


WRONG = """
import torch

def logarithm(x, y):
    return torch.log(x)

def total(x, y):
    return (x + y).sum()

def breaking(x, y):
    return x.no_such_thing

def flat(x, y):
    return torch.zeros_like(x)
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"function": "spher"}, "unknown test function 'spher'; did you mean 'sphere'"),
        ({"function": "nowhere:at_all"}, "the test function 'nowhere:at_all' cannot be imported"),
        ({"function": "wrong:logarithm"}, "'wrong:logarithm' is not finite at "),
        ({"function": "wrong:total"}, "should return one number for each of 20 points, got torch.float64 of shape"),
        ({"function": "wrong:breaking"}, "'wrong:breaking' cannot be computed .AttributeError"),
        ({"function": "wrong:flat", "standardize": True}, "is constant at its points, and cannot be standardized"),
        ({"region": (1.0, 1.0, 0.0, 1.0)}, "needs a region .left, right, bottom, top. with left < right"),
    ],
)
def test_what_is_no_function_of_the_region_is_refused(options, message, tmp_path, monkeypatch):
    (tmp_path / "wrong.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SharpscopeError, match=message):
        DATASETS["objective"](OFFLINE, samples=20, **options)
