"""Scores of pairs of runs by what their heads are given: whether two networks represent the test set alike."""

from __future__ import annotations

from functools import partial

import numpy as np

from sharpscope.errors import DataError
from sharpscope.safety.predictions import Predictions, check_same_samples
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.task import CLASSIFICATION, REGRESSION

# Samples that the unbiased estimate needs.
LEAST = 4

_facts = partial(
    ScoreFacts,
    unit="correlation",
    scale="difference",
    of_pairs=True,
    bounds=(-1.0, 1.0),
    tasks=(CLASSIFICATION.name, REGRESSION.name),
    default=False,
    undefined="where one run has the same features for all samples, or there are fewer than four samples",
    by_classes=True,
    reference='Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019; unbiased after '
    'Song et al., "Feature Selection via Dependence Maximization", JMLR 2012, and Nguyen, Raghu & Kornblith, "Do Wide '
    'and Deep Networks Learn the Same Things?", ICLR 2021',
)


@SCORES.register(facts=_facts("Centered kernel alignment", "higher", needs=("features",)))
def cka(first: Predictions, second: Predictions) -> float:
    r"""Alignment of what the heads of two runs are given for the same test samples, of up to 2,000.

    .. math:: \frac{\mathrm{HSIC}(K, L)}{\sqrt{\mathrm{HSIC}(K, K)\, \mathrm{HSIC}(L, L)}}, \quad K = X X^T, L = Y Y^T

    with the unbiased estimate of the Hilbert-Schmidt independence criterion: the usual one grows with the number of
    features, so that wide networks seem alike where they are not. It is 1 of features that differ by a rotation, a
    shift and one factor, and about 0 of features that have nothing to do with each other.

    Raises:
        DataError: If the two runs were not tested on the same samples, or have no features.
    """
    check_same_samples(first, second, "cka")
    return _alignment(_features(first), _features(second))


@SCORES.register(facts=_facts("Alignment with an untrained network", None, needs=("features", "initial_features")))
def cka_untrained(first: Predictions, second: Predictions) -> float:
    """The floor of ``cka``: alignment of one run with the other one as it was before training, mean of both ways.

    Inputs and architecture alone make networks alike. Of runs with other seeds it is what they have in common by these;
    of runs with one seed it holds the initial weights too.

    Raises:
        DataError: If the two runs were not tested on the same samples, or have no features.
    """
    check_same_samples(first, second, "cka_untrained")
    pairs = ((_features(first), _initial(second)), (_initial(first), _features(second)))
    return float(np.mean([_alignment(x, y) for x, y in pairs]))


def _features(predictions: Predictions) -> np.ndarray:
    return _there(predictions.features)


def _initial(predictions: Predictions) -> np.ndarray:
    return _there(predictions.initial_features)


def _there(features: np.ndarray | None) -> np.ndarray:
    if features is None:
        raise DataError("what the head of a run is given was not stored; run the study again, which does that")
    return features


def _alignment(x: np.ndarray, y: np.ndarray) -> float:
    """Return the alignment of two sets of features ``[N, D]`` of the same samples."""
    if x.shape[0] < LEAST:
        return float("nan")
    x, y = (_scaled(one) for one in (x, y))
    own = hsic(x, x), hsic(y, y)
    # Of features that are all the same nothing but rounding is left; scaled ones are about 1 in size.
    if min(own) <= 1e-12:
        return float("nan")
    return float(np.clip(hsic(x, y) / np.sqrt(own[0] * own[1]), -1.0, 1.0))


def _scaled(features: np.ndarray) -> np.ndarray:
    """Return features in double precision about their mean, with a mean square of 1 for each sample if they vary."""
    whole = features.astype(np.float64)
    centered = whole - whole.mean(axis=0)
    size, rounding = np.sqrt((centered**2).sum(axis=1).mean()), np.finfo(np.float32).eps * np.abs(whole).max()
    return centered / size if size > rounding else np.zeros_like(centered)


def hsic(x: np.ndarray, y: np.ndarray) -> float:
    r"""Return the unbiased estimate of the Hilbert-Schmidt independence criterion with linear kernels.

    .. math:: \frac{1}{N(N-3)} \left( \mathrm{tr}(\tilde K \tilde L)
        + \frac{1^T \tilde K 1\, 1^T \tilde L 1}{(N-1)(N-2)} - \frac{2}{N-2} 1^T \tilde K \tilde L 1 \right)

    where the diagonals of :math:`\tilde K` and :math:`\tilde L` are 0. No matrix of N by N is made.

    Args:
        x: Shape ``[N, D]`` in float64, of four samples or more.
        y: Shape ``[N, E]``, of the same samples.
    """
    samples = len(x)
    squares = [(one**2).sum(axis=1) for one in (x, y)]
    trace = float(((x.T @ y) ** 2).sum() - squares[0] @ squares[1])
    rows = [one @ one.sum(axis=0) - own for one, own in zip((x, y), squares, strict=True)]
    sums = float(rows[0].sum() * rows[1].sum()) / ((samples - 1) * (samples - 2))
    return (trace + sums - 2 * float(rows[0] @ rows[1]) / (samples - 2)) / (samples * (samples - 3))
