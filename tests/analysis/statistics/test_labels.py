"""Permutations of labels within seeds: by hand, their level where labels do not matter, and what they find."""

import itertools

import numpy as np
import pytest

from sharpscope.analysis.statistics.labels import labels_differ, more_alike
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream("labels", "test")


def drawn(rng, labels=4, seeds=5, *, alike=0.0, two=0.0, circle=True):
    """Scores of all pairs: each run and each seed has an effect, and runs of one label, or the first two, another."""
    runs, of_seed = rng.standard_normal((labels, seeds)), rng.standard_normal(seeds)
    scores = np.full((labels, labels, seeds, seeds), np.nan)
    for (a, s), (b, t) in itertools.combinations(itertools.product(range(labels), range(seeds)), 2):
        if circle and a != b and (t - s) % seeds not in (0, 1, seeds - 1):
            continue
        value = runs[a, s] + runs[b, t] + of_seed[s] + of_seed[t] + 0.5 * rng.standard_normal()
        value += alike * (a == b) + two * ({a, b} == {0, 1})
        scores[a, b, s, t] = scores[b, a, t, s] = value
    return scores


def test_all_ways_to_name_the_runs_by_hand():
    scores = drawn(np.random.default_rng(0), labels=3, seeds=3, alike=1.0, circle=False)
    pairs = list(itertools.combinations(range(3), 2))
    ways = [
        sum(scores[naming[s][k], naming[t][k], s, t] for s, t in pairs for k in range(3))
        for naming in itertools.product(itertools.permutations(range(3)), repeat=3)
    ]
    observed = ways[0]
    exact = np.mean(np.array(ways) >= observed - 1e-9)
    found = more_alike(scores, STREAM, larger_is_alike=True, draws=20_000)
    assert found.p == pytest.approx(exact, abs=0.01)
    assert found.pairs == 3
    assert found.own == pytest.approx(observed / 9)
    every = [scores[a, b, s, t] for s, t in pairs for a in range(3) for b in range(3) if a != b]
    assert found.other == pytest.approx(np.mean(every))
    assert more_alike(-scores, STREAM, larger_is_alike=False, draws=20_000).p == found.p
    assert more_alike(scores, STREAM, larger_is_alike=False, draws=20_000).p > 0.5


def test_both_hold_their_level_where_labels_do_not_matter():
    rng = np.random.default_rng(1)
    own, differ = [], []
    for _ in range(400):
        scores = drawn(rng)
        own.append(more_alike(scores, STREAM, larger_is_alike=True, draws=199).p)
        differ.append(labels_differ(scores, STREAM, draws=199).p)
    for found in (own, differ):
        assert 0.02 < np.mean(np.array(found) <= 0.05) < 0.085
        assert 0.4 < np.mean(found) < 0.6


def test_both_find_what_is_there():
    rng = np.random.default_rng(2)
    one = [more_alike(drawn(rng, seeds=8, alike=1.5), STREAM, larger_is_alike=True, draws=499).p for _ in range(20)]
    two = [labels_differ(drawn(rng, seeds=8, two=3.0), STREAM, draws=499).p for _ in range(20)]
    assert np.mean(np.array(one) <= 0.05) > 0.8
    assert np.mean(np.array(two) <= 0.05) > 0.8


def test_pairs_of_seeds_that_lack_a_score_do_not_count():
    scores = drawn(np.random.default_rng(3), seeds=5)
    assert more_alike(scores, STREAM, larger_is_alike=True, draws=99).pairs == 5  # a circle
    scores[0, 1, 2, 3] = scores[1, 0, 3, 2] = np.nan
    assert more_alike(scores, STREAM, larger_is_alike=True, draws=99).pairs == 4
    scores[0, 1, 2, 2] = scores[1, 0, 2, 2] = np.nan
    assert labels_differ(scores, STREAM, draws=99).pairs == 4


def test_too_few_tell_nothing():
    rng = np.random.default_rng(4)
    assert np.isnan(more_alike(drawn(rng, labels=1), STREAM, larger_is_alike=True).p)
    assert np.isnan(more_alike(drawn(rng, seeds=1), STREAM, larger_is_alike=True).p)
    assert np.isnan(labels_differ(drawn(rng, labels=2), STREAM).p)
    # Two labels with two seeds can be named in two ways that differ.
    assert more_alike(drawn(rng, labels=2, seeds=2, alike=99.0), STREAM, larger_is_alike=True).p > 0.45
