"""Each level under corruption in a few numbers: its accuracy, and its errors beside those of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.sections.robustness.data import STREAM, Accuracies
from sharpscope.analysis.statistics import Interval, mean_interval, study_wide
from sharpscope.analysis.statistics.robustness import (
    EffectiveRobustness,
    RelativeErrors,
    corruption_errors,
    effective_robustness,
    relative_corruption_errors,
)

_NONE = Interval(0, float("nan"), float("nan"), float("nan"), 0.0)


@dataclass(frozen=True)
class Summary:
    """A level under corruption, by the corruptions that neither it nor the reference was trained on the like of.

    Attributes:
        level: The level.
        accuracy: Mean over these corruptions, as far as the data of a setting come under them, their severities,
            settings and seeds.
        difference: To the reference, within seeds.
        least: The smallest of the differences as one family after the other is left out; NaN where there is one alone.
        most: The greatest of them.
        error: The mean corruption error, as a multiple of that of the reference.
        relative: The relative one: of what is lost by corruption.
        effective: The mean effective robustness, by the corruptions that no level was trained on the like of.
        alike: The corruptions that are left out.
        faultless: The corruptions that the corruption error leaves out, under which the reference makes no error.
        uncertain: The corruptions that the relative error leaves out, by which the reference may lose nothing.
    """

    level: str
    accuracy: Interval
    difference: Interval
    least: float
    most: float
    error: Interval
    relative: Interval
    effective: Interval
    alike: list[str]
    faultless: list[str]
    uncertain: list[str]


def summaries(found: Accuracies) -> tuple[list[Summary], EffectiveRobustness]:
    """Return a summary of each level, and the line from which the effective robustness is told."""
    effective, by_run = _effective(found)
    return [_summary(found, k, by_run) for k in range(len(found.values.levels))], effective


def _summary(found: Accuracies, level: int, effective: np.ndarray) -> Summary:
    names = found.compared(level)
    error = relative = difference = _NONE
    least = most = float("nan")
    faultless: list[str] = []
    uncertain: list[str] = []
    compared = found.reference is not None and names
    if compared:
        error, faultless = _multiples(found, level, names, relative=False)
        relative, uncertain = _multiples(found, level, names, relative=True)
    if compared and level != found.reference:
        difference = _contrast(found, level, names)
        families = list(dict.fromkeys(map(found.family, names)))
        if len(families) > 1:
            left = [_contrast(found, level, [n for n in names if found.family(n) != family]) for family in families]
            least, most = min(one.value for one in left), max(one.value for one in left)
    return Summary(
        found.values.levels[level],
        _over_seeds(found.over_corruptions(level, names)),
        difference,
        least,
        most,
        error,
        relative,
        _over_seeds(effective[:, level]),
        found.alike(level),
        faultless,
        uncertain,
    )


def _over_seeds(values: np.ndarray) -> Interval:
    """Return the mean of values ``[settings, seeds]`` with its interval over seeds."""
    return mean_interval(study_wide(values).values, STREAM)


def _contrast(found: Accuracies, level: int, corruptions: list[str]) -> Interval:
    levels = range(len(found.values.levels))
    means = np.stack([found.over_corruptions(k, corruptions) for k in levels], axis=1)
    return found.contrast(level, means)


def _multiples(found: Accuracies, level: int, corruptions: list[str], *, relative: bool) -> tuple[Interval, list[str]]:
    """Return the mean corruption error, averaged over settings, and the corruptions that some setting leaves out."""
    assert found.reference is not None
    own, other = (1 - found.by_corruption(k, corruptions) for k in (level, found.reference))
    clean, clean_other = (1 - found.clean[:, k] for k in (level, found.reference))
    values, left = np.full(clean.shape, np.nan), set()
    for setting, has in enumerate(found.has(corruptions)):
        both = np.isfinite(own[setting][:, has]).all(axis=-1) & np.isfinite(other[setting][:, has]).all(axis=-1)
        if not both.any() or not has.any():
            continue
        errors, reference = (one[setting][both][:, has][..., None] for one in (own, other))
        multiples: RelativeErrors
        if relative:
            multiples = relative_corruption_errors(errors, clean[setting, both], reference, clean_other[setting, both])
        else:
            multiples = corruption_errors(errors, reference)
        values[setting, both] = multiples.values
        left |= {int(np.flatnonzero(has)[k]) for k in multiples.left_out}
    return _over_seeds(values), [corruptions[k] for k in sorted(left)]


def _effective(found: Accuracies) -> tuple[EffectiveRobustness, np.ndarray]:
    """Return the effective robustness of all runs, and the same by setting, level and seed."""
    levels = range(len(found.values.levels))
    alike = {name for level in levels for name in found.alike(level)}
    names = [name for name in found.corruptions if name not in alike]
    shaped = np.full(found.clean.shape, np.nan)
    if not names:
        return EffectiveRobustness(
            shaped.ravel(), reason="every corruption is like what a level was trained on"
        ), shaped
    corrupted = np.stack([found.over_corruptions(k, names) for k in levels], axis=1)
    there = np.isfinite(corrupted) & np.isfinite(found.clean)
    effective = effective_robustness(found.clean[there], corrupted[there], samples=found.samples)
    shaped[there] = effective.values
    return effective, shaped
