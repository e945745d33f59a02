"""Points whose classes meet at a boundary of known shape, against what is known of that."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons

from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import SpecError

OFFLINE = DataSource(download=False)
NAMES = ["two_moons", "spirals", "xor"]


def points_of(name, **options):
    data = DATASETS[name](OFFLINE, **options)
    points = torch.cat([data.train_inputs, data.test_inputs]).double()
    classes = torch.cat([data.train_targets, data.test_targets])
    return points, classes


def nearest(points, classes):
    return float(torch.cdist(points[classes == 0], points[classes == 1]).min())


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_balanced_and_the_same_whenever_they_are_made(name):
    data, again = (DATASETS[name](OFFLINE, samples=101, noise=0.1) for _ in range(2))
    assert (len(data.train_inputs), len(data.test_inputs), data.input_shape) == (50, 51, (2,))
    assert data.train_targets.bincount().tolist() == [25, 25]
    assert data.digest == again.digest
    assert data.digest != DATASETS[name](OFFLINE, samples=101, noise=0.1, seed=1).digest
    larger = DATASETS[name](OFFLINE, samples=2000, noise=0.1)
    assert larger.train_inputs[:50].equal(data.train_inputs)
    assert data.normalize(data.train_inputs).equal(data.train_inputs)
    assert data.pictured


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_gaussian_on_each_coordinate(name):
    clean, _ = points_of(name, samples=20_000)
    noisy, _ = points_of(name, samples=20_000, noise=0.3)
    moved = noisy - clean
    assert moved.std(dim=0).tolist() == pytest.approx([0.3, 0.3], rel=0.03)
    assert moved.mean(dim=0).tolist() == pytest.approx([0, 0], abs=0.01)


def test_moons_lie_on_their_circles_as_those_of_scikit_learn():
    points, classes = points_of("two_moons", samples=4000)
    theirs, labels = make_moons(4000)
    for number, center in ((0, (0, 0)), (1, (1, 0.5))):
        ours = points[classes == number] - torch.tensor(center)
        assert ours.norm(dim=1).tolist() == pytest.approx([1.0] * len(ours), abs=1e-6)
        low, high = ours.amin(dim=0) + torch.tensor(center), ours.amax(dim=0) + torch.tensor(center)
        np.testing.assert_allclose(low, theirs[labels == number].min(axis=0), atol=5e-3)
        np.testing.assert_allclose(high, theirs[labels == number].max(axis=0), atol=5e-3)


@pytest.mark.parametrize("gap", [0.05, 0.3, 0.5, 1.0])
def test_the_gap_of_the_moons_is_their_distance(gap):
    # Points are about pi / 2000 apart along the moons.
    found = nearest(*points_of("two_moons", samples=8000, gap=gap))
    assert found == pytest.approx(gap, abs=0.004)
    assert found >= gap - 1e-6


@pytest.mark.parametrize("turns", [1.0, 2.5])
def test_arms_of_the_spirals_are_apart_by_their_turns(turns):
    points, classes = points_of("spirals", samples=8000, turns=turns)
    radius = points.norm(dim=1)
    angle = torch.atan2(points[:, 1], points[:, 0]) - math.pi * classes
    off = (angle - 2 * math.pi * turns * (radius - 0.1) / 0.9) / (2 * math.pi)
    assert (off - off.round()).abs().max() < 1e-4
    assert 0.1 <= float(radius.min()) <= float(radius.max()) <= 1.0
    # Even along the length: half of the points are on the outer part with half of the area.
    assert float((radius**2 > 0.505).double().mean()) == pytest.approx(0.5, abs=0.03)
    # Along a ray the next arm is of the other class.
    near_axis = points[(points[:, 1].abs() < 0.01) & (points[:, 0] > 0)]
    places = near_axis[:, 0].sort().values
    steps = places.diff()
    assert steps[steps > 0.05].tolist() == pytest.approx([0.45 / turns] * int((steps > 0.05).sum()), abs=0.02)


def test_corners_of_the_cross_have_the_class_of_their_signs():
    points, classes = points_of("xor", samples=4000, gap=0.3)
    assert (points.prod(dim=1) < 0).long().tolist() == classes.tolist()
    assert 0.15 <= float(points.abs().min()) < 0.16
    assert 0.99 < float(points.abs().max()) <= 1.0
    quarters = (2 * (points[:, 0] > 0) + (points[:, 1] > 0)).long().bincount()
    assert quarters.tolist() == pytest.approx([1000] * 4, rel=0.1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("two_moons", {"gap": -0.1}),
        ("two_moons", {"samples": 3}),
        ("spirals", {"turns": 0}),
        ("spirals", {"noise": -1}),
        ("xor", {"gap": 2}),
    ],
)
def test_what_cannot_be_drawn_is_refused(name, options):
    with pytest.raises(SpecError, match=rf"option '{next(iter(options))}' of dataset '{name}': input should be"):
        DATASETS[name].complete(options)
