"""How sure a mean over seeds and test samples is of new seeds, of new test samples, and of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from sharpscope.analysis.statistics.interval import LEVEL, Interval


@dataclass(frozen=True)
class TwoWay:
    """A mean over seeds and test samples with its standard errors.

    Attributes:
        value: The mean.
        seeds: How many seeds there are.
        samples: How many test samples there are.
        seeds_error: Its standard error over new seeds on the same test samples.
        samples_error: That over new test samples with the same seeds.
        error: That over both.
        interval: Of the mean over all seeds and all samples that there could be.
    """

    value: float
    seeds: int
    samples: int
    seeds_error: float
    samples_error: float
    error: float
    interval: Interval


def two_way(parts: np.ndarray, *, level: float = LEVEL) -> TwoWay:
    r"""Return how sure the mean of a table is whose rows and columns are both a choice: seeds and test samples.

    Every seed is tested on the same samples, so neither the cells are independent, nor the rows of new samples. With
    effects of seeds, of samples and of both together, of variances :math:`\sigma_s^2, \sigma_t^2, \sigma_e^2`, the mean
    of :math:`S` seeds and :math:`N` samples has the variance

    .. math:: \frac{\sigma_s^2}{S} + \frac{\sigma_t^2}{N} + \frac{\sigma_e^2}{SN}

    The variance of the means of seeds holds the first and the third term, that of the means of samples the second and
    the third; so their sum less the third, which is estimated from what is left beside both means, has no bias. The
    interval takes a t quantile with the degrees of freedom of Satterthwaite, so that it holds for few seeds.

    Bootstrap weights that are products, of weights of seeds and weights of samples, count the third term three times
    (Owen 2007), which for accuracies of few seeds is most of the variance. The bootstrap of samples alone, the same for
    all seeds, has the standard error ``samples_error``, which needs no draws.

    Args:
        parts: What each test sample adds with each seed, shape ``[S, N]``, without NaN.
        level: The share of intervals that are to hold the true mean.

    Returns:
        With NaN for what fewer than two seeds, or two samples, do not tell.

    Reference: Owen, "The Pigeonhole Bootstrap", Annals of Applied Statistics 2007; Searle, Casella & McCulloch,
    "Variance Components", 1992, chapter 4.
    """
    seeds, samples = parts.shape
    mean = float(parts.mean()) if parts.size else float("nan")
    if seeds < 2 or samples < 2:
        lost = float("nan")
        return TwoWay(mean, seeds, samples, lost, lost, lost, Interval(seeds, mean, lost, lost, 0.0))
    of_seeds, of_samples = parts.mean(axis=1), parts.mean(axis=0)
    by_seed = float(of_seeds.var(ddof=1)) / seeds
    by_sample = float(of_samples.var(ddof=1)) / samples
    rest = parts - of_seeds[:, None] - of_samples + mean
    both = float(np.einsum("sn,sn->", rest, rest)) / ((seeds - 1) * (samples - 1) * seeds * samples)
    # By chance the difference may come out below what either alone has, which the whole cannot.
    whole = max(by_seed + by_sample - both, by_seed, by_sample)
    squares = by_seed**2 / (seeds - 1) + by_sample**2 / (samples - 1) + both**2 / ((seeds - 1) * (samples - 1))
    freedom = whole**2 / squares if squares > 0 else float(seeds - 1)
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * np.sqrt(whole)
    of_seed, of_sample, of_both = (float(np.sqrt(variance)) for variance in (by_seed, by_sample, whole))
    interval = Interval(seeds, mean, mean - reach, mean + reach, level)
    return TwoWay(mean, seeds, samples, of_seed, of_sample, of_both, interval)
