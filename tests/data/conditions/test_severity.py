"""What severities do: to the similarity of natural-looking images, to distances, and to a network's accuracy."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from benchmarks.corruptions import accuracies, accuracy_of, network
from benchmarks.severities import reference_images, similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from sharpscope.condition import SEVERITIES
from sharpscope.data import CONDITIONS, DATASETS, DataSource, conditions_of, corrupt
from sharpscope.data.conditions.severity import DAMAGES, SIDES, SIMILARITY, strength
from sharpscope.seeding import Stream

STREAM = Stream("another one than they were solved for")
QUICK = (8, 28, 32)
CORRUPTIONS = [name for name, entry in CONDITIONS.items() if entry.facts.kind == "inputs"]


@cache
def scenes(side):
    # Few where that has to be fast. By chance, few small images may have less snow at a higher severity.
    return (reference_images(side, 12 if side in QUICK else 40) * 255).round().to(torch.uint8)


def similarities(name, clean):
    unit = clean.float() / 255
    return np.array([similarity(unit, corrupt(clean, name, s, STREAM).float() / 255) for s in SEVERITIES])


def distances(name, clean):
    return [float(((corrupt(clean, name, s, STREAM).float() - clean) ** 2).mean()) for s in SEVERITIES]


def test_every_corruption_has_its_strengths():
    assert set(DAMAGES) == set(CORRUPTIONS)
    for name in CORRUPTIONS:
        for side in SIDES:
            strengths = [strength(name, severity, side) for severity in SEVERITIES]
            assert strengths == sorted(set(strengths))


def test_strengths_are_those_of_their_side_and_between_two_sides_geometric():
    low, high = (strength("gaussian_blur", 3, side) for side in (16, 32))
    assert strength("gaussian_blur", 3, 22.627416997969522) == pytest.approx((low * high) ** 0.5)
    assert strength("gaussian_blur", 3, 4) == strength("gaussian_blur", 3, 8)
    assert strength("gaussian_blur", 3, 500) == strength("gaussian_blur", 3, 224)


SIDES_TESTED = [*QUICK, *(pytest.param(side, marks=pytest.mark.slow) for side in (12, 48, 96, 224))]


@pytest.mark.parametrize("side", SIDES_TESTED)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_severity_is_a_structural_similarity(name, side):
    found = similarities(name, scenes(side))
    assert (np.diff(found) < 0).all()
    # On fewer scenes, by other draws, and at sides between those that were solved for.
    np.testing.assert_allclose(found, SIMILARITY, atol=0.07 if side in SIDES else 0.09)
    assert np.diff(distances(name, scenes(side))).min() > 0


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if not CONDITIONS[name].facts.colored])
def test_gray_images_are_damaged_alike(name):
    gray = scenes(32).float().mean(dim=1, keepdim=True).round().to(torch.uint8)
    found = similarities(name, gray)
    assert (np.diff(found) < 0).all()
    np.testing.assert_allclose(found, SIMILARITY, atol=0.1)
    assert np.diff(distances(name, gray)).min() > 0


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if not CONDITIONS[name].facts.colored])
def test_digits_are_further_from_themselves_with_severity(name):
    digits = DATASETS["digits"](DataSource(download=False)).test_inputs
    assert np.diff(similarities(name, digits)).max() < 0
    assert np.diff(distances(name, digits)).min() > 0


def test_what_is_done_to_an_image_does_not_depend_on_the_others():
    digits = DATASETS["digits"](DataSource(download=False)).test_inputs[:9]
    for name, condition in conditions_of(DATASETS["digits"](DataSource(download=False))).items():
        if condition.facts.kind == "inputs":
            among_others = corrupt(torch.cat([digits, 255 - digits]), name, 3, STREAM)[:9]
            assert among_others.equal(corrupt(digits, name, 3, STREAM))


def test_the_similarity_of_one_scale_is_that_of_torchmetrics():
    # Of 8 pixels there is one scale.
    large = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = (0.8 * large + 0.2 * torch.rand(large.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    expected = structural_similarity_index_measure(noisy, large, sigma=1.5, data_range=1.0)
    # They weigh pixels by the Gaussian at their middles, where these are integrals over them, and borders differ.
    assert similarity(large, noisy) == pytest.approx(float(expected), abs=0.02)
    assert similarity(large, large) == pytest.approx(1.0)
    # Of 16 pixels there are two, and of 12 the second counts by 0.58 of an octave.
    for side, weight in ((16, 1.0), (12, math.log2(12 / 8))):
        first, second = reference_images(side, 6).split(3)
        halves = (torch.nn.functional.avg_pool2d(images, 2) for images in (first, second))
        whole, halved = (
            float(structural_similarity_index_measure(*pair, sigma=1.5, data_range=1.0, kernel_size=kernel))
            for pair, kernel in (((first, second), 11), (tuple(halves), 11))
        )
        assert similarity(first, second) == pytest.approx((whole + weight * halved) / (1 + weight), abs=0.03)


@pytest.mark.slow
def test_a_networks_accuracy_falls_with_severity_and_digits_stay_legible():
    digits = DATASETS["digits"](DataSource(download=False))
    model = network(digits, 30)
    clean = accuracy_of(model, digits, digits.test_inputs)
    assert clean > 0.93
    found = accuracies(digits, model)
    for name, by_severity in found.items():
        # 797 images: the standard error of the accuracy is up to 0.015, that of a difference of two less.
        assert np.diff([clean, *by_severity]).max() < 0.02, name
        assert by_severity[0] > clean - 0.05, name
        assert by_severity[-1] > 0.4, name
    means = np.mean(list(found.values()), axis=0)
    assert (np.diff([clean, *means]) < 0).all()
