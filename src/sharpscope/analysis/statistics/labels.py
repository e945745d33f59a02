"""Tests of scores of pairs by permuting the labels of runs within each seed: are runs of one label more alike?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpscope.numpy_stream import NumpyStream

DRAWS = 9_999
_ROUNDING = 1e-12


@dataclass(frozen=True)
class LabelTest:
    """A test of whether labels matter for how alike two runs are.

    Attributes:
        pairs: How many pairs of seeds, or seeds, count.
        own: The mean of pairs of one label.
        other: The mean of pairs of two labels.
        p: The share of permutations in which the statistic is as large, those observed among them; NaN without pairs.
    """

    pairs: int
    own: float
    other: float
    p: float


def more_alike(scores: np.ndarray, stream: NumpyStream, *, larger_is_alike: bool, draws: int = DRAWS) -> LabelTest:
    """Test whether two runs of one label are more alike than two of different labels, all of them with other seeds.

    If labels did not matter, the runs of a seed could be named in any way: so labels are permuted within each seed, of
    which each keeps its runs, with all that these share. The statistic is the mean over pairs of one label. Naming the
    runs of all seeds anew in one and the same way changes nothing, so with few seeds and labels p cannot be small.

    Args:
        scores: Of the run of each label and seed with each other one, shape ``[K, K, S, S]``: labels of both, seeds of
            both, symmetric. NaN where there is no score; pairs of seeds count that have one for all labels of both.
        stream: Where the permutations are drawn from.
        larger_is_alike: Whether a larger score means that runs are more alike.
        draws: How many permutations are drawn beside that observed.
    """
    labels, seeds = scores.shape[0], scores.shape[2]
    first, second = np.triu_indices(seeds, k=1)
    there = np.isfinite(scores[:, :, first, second]).all(axis=(0, 1)) & (labels > 1)
    first, second = first[there], second[there]
    if not len(first):
        return LabelTest(0, float("nan"), float("nan"), float("nan"))
    of_pairs = scores[:, :, first, second].transpose(2, 0, 1)
    total, own = float(of_pairs.sum()), float(np.trace(of_pairs, axis1=1, axis2=2).sum())
    sign = 1 if larger_is_alike else -1
    least = sign * own - _ROUNDING * float(np.abs(of_pairs).sum())
    reached = 1
    # Of each draw and seed, which run has each label.
    named = stream.numpy().permuted(np.broadcast_to(np.arange(labels), (draws, seeds, labels)), axis=2)
    drawn = np.zeros(draws)
    for place, matrix in enumerate(of_pairs):
        drawn += matrix[named[:, first[place]], named[:, second[place]]].sum(axis=1)
    reached += int(np.sum(sign * drawn >= least))
    count, diagonal = of_pairs.shape[0], labels * of_pairs.shape[0]
    return LabelTest(count, own / diagonal, (total - own) / (diagonal * (labels - 1)), reached / (draws + 1))


def labels_differ(scores: np.ndarray, stream: NumpyStream, *, draws: int = DRAWS) -> LabelTest:
    """Test whether some labels are more alike than others, of runs that share their seed.

    The statistic is how the means of all pairs of labels vary; labels are permuted within each seed.

    Args:
        scores: As of ``more_alike``; those of two labels and one seed are read.
        stream: Where the permutations are drawn from.
        draws: How many permutations are drawn beside that observed.

    Returns:
        The test, in which ``own`` is NaN; p is NaN for fewer than three labels or two seeds, which tell nothing.
    """
    labels = scores.shape[0]
    a, b = np.triu_indices(labels, k=1)
    of_seeds = np.diagonal(scores, axis1=2, axis2=3).transpose(2, 0, 1)
    of_seeds = of_seeds[np.isfinite(of_seeds[:, a, b]).all(axis=1)]
    other = float(of_seeds[:, a, b].mean()) if len(of_seeds) and len(a) else float("nan")
    if labels < 3 or len(of_seeds) < 2:
        return LabelTest(len(of_seeds), float("nan"), other, float("nan"))
    observed = of_seeds[:, a, b].mean(axis=0).var()
    named = stream.numpy().permuted(np.broadcast_to(np.arange(labels), (draws, len(of_seeds), labels)), axis=2)
    means = np.zeros((draws, len(a)))
    for place, matrix in enumerate(of_seeds):
        means += matrix[named[:, place][:, a], named[:, place][:, b]]
    drawn = (means / len(of_seeds)).var(axis=1)
    reached = 1 + int(np.sum(drawn >= observed * (1 - 1e-9)))
    return LabelTest(len(of_seeds), float("nan"), other, reached / (draws + 1))
