"""Points in the plane whose classes meet at a boundary of known shape, with an option that makes it tighter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.draws import Draws
from sharpscope.data.registry import DATASETS
from sharpscope.seeding import Stream

Samples = Annotated[int, Field(ge=4, le=10_000_000)]
Noise = Annotated[float, Field(ge=0)]
# Where a spiral begins, as a share of its radius.
_INNER = 0.1


@DATASETS.register()
def two_moons(
    source: DataSource,
    *,
    samples: Samples = 200,
    gap: Annotated[float, Field(ge=0, le=1)] = 0.5,
    noise: Noise = 0.0,
    seed: int = 0,
) -> Dataset:
    """Two half circles in the plane that reach into each other, 2 classes; the first half of the samples trains.

    Both have the radius 1. The end of each is nearest to the other, at the distance of the gap.

    Args:
        source: Not used: the points are computed.
        samples: Training and test points together, from 4 to 10,000,000.
        gap: The distance of the moons, from 0 to 1; towards 0 the boundary is tighter.
        noise: Standard deviation of Gaussian noise on each coordinate.
        seed: Of the points and of the noise.

    Returns:
        Coordinates as float32 ``[N, 2]``.

    Reference: scikit-learn, ``make_moons``, which has a gap of 0.5.
    """

    def place(classes: Tensor, along: Tensor) -> Tensor:
        x, y = (math.pi * along[:, 0]).cos(), (math.pi * along[:, 0]).sin()
        upper, lower = torch.stack([x, y], dim=1), torch.stack([1 - x, 1 - gap - y], dim=1)
        return torch.where(classes[:, None] == 0, upper, lower)

    return _dataset("two_moons", ("upper", "lower"), place, samples, noise, seed)


@DATASETS.register()
def spirals(
    source: DataSource,
    *,
    samples: Samples = 200,
    turns: Annotated[float, Field(gt=0, le=20)] = 1.5,
    noise: Noise = 0.0,
    seed: int = 0,
) -> Dataset:
    """Two spirals in the plane, one in the windings of the other, 2 classes; the first half of the samples trains.

    The radius grows with the angle from 0.1 to 1, so that the arms are 0.45 / turns apart, measured along it.

    Args:
        source: Not used: the points are computed.
        samples: Training and test points together, from 4 to 10,000,000.
        turns: How often each spiral goes round, up to 20; the more, the tighter is the boundary.
        noise: Standard deviation of Gaussian noise on each coordinate.
        seed: Of the points and of the noise.

    Returns:
        Coordinates as float32 ``[N, 2]``, about evenly along the spirals.

    Reference: Lang & Witbrock, "Learning to Tell Two Spirals Apart", Connectionist Models Summer School 1988.
    """

    def place(classes: Tensor, along: Tensor) -> Tensor:
        # A winding is about as long as its radius is large, so that even steps are those of the square.
        radius = (_INNER**2 + (1 - _INNER**2) * along[:, 0]).sqrt()
        angle = 2 * math.pi * turns * (radius - _INNER) / (1 - _INNER) + math.pi * classes
        return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)

    return _dataset("spirals", ("first", "second"), place, samples, noise, seed)


@DATASETS.register()
def xor(
    source: DataSource,
    *,
    samples: Samples = 200,
    gap: Annotated[float, Field(ge=0, lt=2)] = 0.2,
    noise: Noise = 0.0,
    seed: int = 0,
) -> Dataset:
    """Four squares in the plane, of which those across from each other are one class; the first half of samples trains.

    Points are uniform in the corners of the square from (-1, -1) to (1, 1), with an empty cross between the corners.

    Args:
        source: Not used: the points are computed.
        samples: Training and test points together, from 4 to 10,000,000.
        gap: The width of the cross, below 2; towards 0 the boundary is tighter.
        noise: Standard deviation of Gaussian noise on each coordinate.
        seed: Of the points and of the noise.

    Returns:
        Coordinates as float32 ``[N, 2]``.

    Reference: Minsky & Papert, "Perceptrons", 1969.
    """

    def place(classes: Tensor, along: Tensor) -> Tensor:
        sizes = gap / 2 + (1 - gap / 2) * along[:, :2]
        right = torch.where(along[:, 2] < 0.5, -1.0, 1.0)
        above = torch.where(classes == 0, right, -right)
        return sizes * torch.stack([right, above], dim=1)

    return _dataset("xor", ("alike", "unlike"), place, samples, noise, seed)


def _dataset(
    name: str,
    classes: tuple[str, str],
    place: Callable[[Tensor, Tensor], Tensor],
    samples: int,
    noise: float,
    seed: int,
) -> Dataset:
    """Return points of two classes in turn.

    Args:
        name: Of the dataset.
        classes: Their names.
        place: Puts points in the plane, ``[n, 2]``, by their classes ``[n]`` and three uniform numbers each.
        samples: Training and test points together.
        noise: Of each coordinate.
        seed: Of the points.
    """

    def split(part: str, count: int) -> tuple[Tensor, Tensor]:
        draws, targets = Draws(Stream(name, part, seed), 0, count), torch.arange(count) % 2
        points = place(targets, draws.uniform("place", 3).double()) + noise * draws.normal("noise", 2).double()
        return points.to(torch.float32), targets

    (train, train_targets), (test, test_targets) = split("train", samples // 2), split("test", samples - samples // 2)
    return Dataset(
        name=name,
        train_inputs=train,
        train_targets=train_targets,
        test_inputs=test,
        test_targets=test_targets,
        classes=classes,
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
    )
