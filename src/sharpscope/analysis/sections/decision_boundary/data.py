"""Which class is predicted where in the plane, by level of the factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.colors import to_rgb

from sharpscope.analysis.drawing.pictured import pictured
from sharpscope.analysis.drawing.plane import Lines, Region
from sharpscope.analysis.results import StudyResults

# Of Okabe and Ito, as those of levels are; none is a level's where these have an order.
_CLASSES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
# Seeds whose boundaries are drawn one by one.
_SEEDS = 6
# How much color there is where seeds agree, and where they are split.
_STRONG, _FAINT = 0.42, 0.06


def class_color(number: int) -> str:
    """Return the color of a class, as ``#rrggbb``."""
    return _CLASSES[number % len(_CLASSES)]


@dataclass(frozen=True)
class Panel:
    """What the runs of one level in one setting predict.

    Attributes:
        group: The setting.
        level: The level.
        region: What is drawn.
        classes: The class that each run predicts, ``[runs, rows, columns]``, rows from below.
        confidence: How sure it is of that, from 0 to 1.
        points: Training points of the first run, ``[n, 2]``.
        labels: Their classes, as trained on.
        alike: Whether all runs were trained on these points with these classes.
        accuracy: The mean test accuracy of the runs.
    """

    group: dict[str, object]
    level: str
    region: Region
    classes: np.ndarray
    confidence: np.ndarray
    points: np.ndarray
    labels: np.ndarray
    alike: bool
    accuracy: float

    @property
    def seeds(self) -> int:
        """How many runs there are."""
        return len(self.classes)

    @cached_property
    def shares(self) -> np.ndarray:
        """The share of the runs that predict each class, ``[rows, columns, C]``."""
        count = 1 + max(int(self.classes.max()), int(self.labels.max(initial=1)))
        return np.stack([(self.classes == number).mean(axis=0) for number in range(count)], axis=-1)

    @cached_property
    def colors(self) -> np.ndarray:
        """Red, green, blue and opacity, ``[rows, columns, 4]``: fainter where runs differ."""
        mixed = self.shares @ np.array([to_rgb(class_color(number)) for number in range(self.shares.shape[-1])])
        agreed = 2 * np.maximum(self.shares.max(axis=-1) - 0.5, 0)
        return np.concatenate([mixed, (_FAINT + (_STRONG - _FAINT) * agreed)[..., None]], axis=-1)

    @property
    def of_seeds(self) -> Lines:
        """The boundaries of the first runs."""
        return [
            line
            for classes, sure in zip(self.classes[:_SEEDS], self.confidence[:_SEEDS], strict=True)
            for line in self._boundary(classes, sure)
        ]

    @property
    def of_most(self) -> Lines:
        """The boundaries of what most runs predict."""
        if self.shares.shape[-1] == 2:
            # The median crosses one half where the majority does, and smoothly.
            return self.region.contours(np.median(self._of_second(self.classes, self.confidence), axis=0), 0.5)
        return self._between(self.shares.argmax(axis=-1))

    def _boundary(self, classes: np.ndarray, sure: np.ndarray) -> Lines:
        if self.shares.shape[-1] == 2:
            return self.region.contours(self._of_second(classes, sure), 0.5)
        return self._between(classes)

    @staticmethod
    def _of_second(classes: np.ndarray, sure: np.ndarray) -> np.ndarray:
        """Return the probability of the second of two classes."""
        return np.where(classes == 1, sure, 1 - sure)

    def _between(self, classes: np.ndarray) -> Lines:
        present = np.unique(classes)
        return [line for number in present[1:] for line in self.region.contours(classes == number, 0.5)]


def panels_of(results: StudyResults) -> list[Panel]:
    """Return a panel for each level in each setting whose runs have pictures."""
    return [
        Panel(
            group=found.group,
            level=found.level,
            region=found.region,
            classes=np.stack([each["class"] for each in found.arrays]),
            confidence=np.stack([each["confidence"] for each in found.arrays]) / 255,
            points=found.arrays[0]["points"],
            labels=found.arrays[0]["labels"],
            alike=all(_same_data(each, found.arrays[0]) for each in found.arrays),
            accuracy=float(found.runs["test_accuracy"].mean()),
        )
        for found in pictured(results, needs="class", alike="region")
    ]


def _same_data(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in ("points", "labels"))
