"""What a severity of a corruption means: how far it damages images, whatever their size and the corruption.

At severity v, natural-looking reference images of a side are left with a structural similarity of ``SIMILARITY[v - 1]``
on average. Each corruption has one number that says how strong it is; which one reaches that similarity was solved for
at six sides, and is interpolated between them. So a severity is as much damage by one corruption as by another, small
images stay legible, and what is done to an image depends on its size and never on the other images of its set.

The similarities go from about the weakest severity of the published suites to their strongest: noise, impulses, blur
and brightness leave the reference images with 0.97 to 0.99 at the first severity of CIFAR-10-C, at side 32, and with
0.63 to 0.67 at the last of ImageNet-C, at side 224.

The reference images, the similarity and the solver are in ``benchmarks/severities.py``, which wrote the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from torch import Tensor

from sharpscope.condition import SEVERITIES, ConditionFacts
from sharpscope.data.draws import Draws
from sharpscope.data.registry import CONDITIONS

# Structural similarity to the clean reference images, averaged over scales, at the severities 1 to 5.
SIMILARITY = (0.95, 0.89, 0.82, 0.73, 0.62)
# The sides that strengths are solved for.
SIDES = (8, 16, 32, 64, 128, 224)

_REFERENCE = (
    'Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", '
    "ICLR 2019"
)

# (images in [0, 1] as float32 [N, C, H, W], strength, draws) -> damaged images; what leaves [0, 1] is clipped.
Damage = Callable[[Tensor, float, Draws], Tensor]

DAMAGES: dict[str, Damage] = {}


def corruption(label: str, family: str, *, version: int = 2, **facts: Any) -> Callable[[Damage], Damage]:
    """Return a decorator that registers a corruption, which is told how strong it is to be, by that of its severity.

    Args:
        label: Its name in a report.
        family: "noise", "blur", "weather" or "digital".
        version: Of its definition; to be raised with the numbers of its strengths.
        facts: Others of ``ConditionFacts``.
    """

    def enroll(damage: Damage) -> Damage:
        name = damage.__name__

        def condition(images: Tensor, severity: int, draws: Draws) -> Tensor:
            return damage(images, strength(name, severity, side_of(images)), draws)

        condition.__name__, condition.__doc__, condition.__module__ = name, damage.__doc__, damage.__module__
        CONDITIONS.register(
            version=version, facts=ConditionFacts("inputs", label, family, reference=_REFERENCE, **facts)
        )(condition)
        DAMAGES[name] = damage
        return damage

    return enroll


def side_of(images: Tensor) -> int:
    """Return the shorter side of images, in pixels."""
    return min(images.shape[2:])


def in_pixels(share: float, images: Tensor) -> float:
    """Return a length that is a share of the shorter side, in pixels; of sides under 8, what it is at 8."""
    return share * max(side_of(images), SIDES[0])


def strength(name: str, severity: int, side: int) -> float:
    """Return how strong a corruption is at a severity.

    Args:
        name: Of the corruption.
        severity: 1 to 5.
        side: The shorter side of the images, in pixels. Sides below and above those that were solved for get the
            strength of the nearest; lengths are shares of the side, and go on growing above.
    """
    solved = _strengths()[name][SEVERITIES.index(severity)]
    return float(np.exp(np.interp(np.log(side), np.log(SIDES), np.log(solved))))


@cache
def _strengths() -> dict[str, list[list[float]]]:
    """Return the strengths of each corruption by severity and side."""
    text = (files("sharpscope.data.conditions") / "strengths.json").read_text()
    found: dict[str, list[list[float]]] = json.loads(text)
    return found
