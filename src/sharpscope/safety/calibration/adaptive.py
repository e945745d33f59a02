"""Calibration errors over bins that hold equally many samples, and over bins that hold enough."""

from __future__ import annotations

import numpy as np

from sharpscope.safety.calibration.expected_error import NORMS, Norm, Positive, calibration_error
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts
from sharpscope.safety.reliability import ReliabilityBins, equal_masses, grouped, reliability_bins
from sharpscope.safety.splits import Split


@SCORES.register(
    facts=ScoreFacts(
        "Debiased squared calibration error",
        "lower",
        "squared probability",
        scale="difference",
        bounds=(-0.25, 1.0),
        needs=("test", "calibration"),
        reference='Kumar, Liang & Ma, "Verified Uncertainty Calibration", NeurIPS 2019',
        default=False,
    )
)
def ece_debiased(predictions: Predictions, *, bins: Positive = 15) -> float:
    r"""Squared calibration error on the test set without its bias: 0 on average of a calibrated model, and signed.

    .. math:: \sum_b \frac{n_b}{N} \Big[ (\mathrm{acc}_b - \mathrm{conf}_b)^2
        - \frac{\mathrm{acc}_b (1 - \mathrm{acc}_b)}{n_b - 1} \Big]

    over bins that hold equally many samples of the calibration split, or of the test set where there is none. Its root,
    where it is positive, is an error in units of probability; the square is kept, with its sign, so that means over
    runs have no bias either. A bin of one sample tells nothing and counts as 0.

    Args:
        predictions: Of one run.
        bins: Number of bins.
    """
    edges = equal_masses((predictions.calibration or predictions.test).confidence, bins)
    held = grouped(predictions.test.confidence, predictions.test.correct, edges).filled
    spread = held.accuracy * (1 - held.accuracy) / np.maximum(held.count - 1, 1)
    terms = np.where(held.count > 1, (held.accuracy - held.confidence) ** 2 - spread, 0.0)
    return float((held.count * terms).sum() / held.count.sum())


@SCORES.register(
    facts=ScoreFacts(
        "Calibration error over monotone bins",
        "lower",
        "fraction",
        scale="difference",
        reference='Roelofs et al., "Mitigating Bias in Calibration Error Estimation", AISTATS 2022',
        default=False,
    )
)
def ece_sweep(predictions: Predictions, *, norm: Norm = "l1") -> float:
    """Calibration error over as many bins of equally many test samples as leave the accuracy rising with confidence.

    From one bin on, their number grows until the accuracy of one is below that of the bin before. Samples of one
    confidence share a bin.

    Args:
        predictions: Of one run.
        norm: As of ``ece``; Roelofs et al. take ``l2``.
    """
    sweep = _Sweep(predictions.test)
    found = sweep.bins(1)
    for bins in range(2, sweep.samples + 1):
        finer = sweep.bins(bins)
        if (np.diff(finer[2]) < 0).any():
            break
        found = finer
    count, confidence, accuracy = found
    return float(NORMS[norm](count / count.sum(), np.abs(accuracy - confidence)))


class _Sweep:
    """Bins of equally many samples, for many numbers of bins: sums over samples in the order of confidence.

    Attributes:
        samples: Their number, N.
    """

    def __init__(self, split: Split) -> None:
        order = np.argsort(split.confidence, kind="stable")
        confidence = split.confidence[order]
        self.samples = len(order)
        # How many samples have at most the confidence of each.
        self._closed = np.searchsorted(confidence, confidence, side="right")
        self._confidence = np.concatenate([[0.0], np.cumsum(confidence)])
        self._right = np.concatenate([[0], np.cumsum(split.correct[order])])

    def bins(self, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return counts, mean confidences and accuracies of the bins that are not empty."""
        last = -(-self.samples * np.arange(1, bins + 1) // bins) - 1
        ends = self._closed[last]
        ends = np.concatenate([[0], ends[np.diff(ends, prepend=0) > 0]])
        count = np.diff(ends)
        return count, np.diff(self._confidence[ends]) / count, np.diff(self._right[ends]) / count


@SCORES.register(
    facts=ScoreFacts(
        "Class-wise calibration error",
        "lower",
        "fraction",
        scale="difference",
        reference='Kull et al., "Beyond Temperature Scaling: Obtaining Well-Calibrated Multi-Class Probabilities with '
        'Dirichlet Calibration", NeurIPS 2019; bins as in Nixon et al., "Measuring Calibration in Deep Learning", '
        "CVPR Workshops 2019",
        default=False,
    )
)
def classwise_ece(predictions: Predictions, *, bins: Positive = 15) -> float:
    """Calibration error of the probability of each class on the test set, averaged over classes.

    Args:
        predictions: Of one run.
        bins: Number of bins of each class, which hold equally many samples.
    """
    test = predictions.test
    errors = [
        calibration_error(grouped(column, test.targets == label, equal_masses(column, bins)), "l1")
        for label, column in enumerate(np.exp(test.log_probabilities).T)
    ]
    return float(np.mean(errors))


@SCORES.register(
    facts=ScoreFacts(
        "Maximum calibration error",
        "lower",
        "fraction",
        scale="difference",
        reference='Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015',
        undefined="where no bin holds enough samples",
        default=False,
    )
)
def mce(predictions: Predictions, *, bins: Positive = 15, least: Positive = 20) -> float:
    """Largest gap between confidence and accuracy on the test set among bins that hold enough samples.

    ``mce_bins`` tells how many these are.

    Args:
        predictions: Of one run.
        bins: Number of equal-width bins, as of ``ece``.
        least: How many samples a bin holds that counts: the gap of few is chance.
    """
    held = _full(predictions, bins, least)
    return calibration_error(held, "max") if len(held.count) else float("nan")


@SCORES.register(
    facts=ScoreFacts(
        "Bins of the maximum calibration error",
        None,
        "bins",
        scale="difference",
        bounds=(0.0, float("inf")),
        default=False,
    )
)
def mce_bins(predictions: Predictions, *, bins: Positive = 15, least: Positive = 20) -> float:
    """Number of bins that ``mce`` is the largest gap of.

    Args:
        predictions: Of one run.
        bins: As of ``mce``.
        least: As of ``mce``.
    """
    return float(len(_full(predictions, bins, least).count))


def _full(predictions: Predictions, bins: int, least: int) -> ReliabilityBins:
    """Return the bins of equal width that hold enough samples."""
    all_bins = reliability_bins(predictions.test, bins)
    full = all_bins.count >= least
    return ReliabilityBins(all_bins.edges, all_bins.count[full], all_bins.confidence[full], all_bins.accuracy[full])
