"""Solve for how strong each corruption must be: ``python -m benchmarks.severities`` writes ``strengths.json`` anew.

At each severity and side, reference images are to keep a structural similarity of ``SIMILARITY`` to what they were.
Names of corruptions as arguments solve for these alone. What was written before is lost of them alone.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

import sharpscope.data.conditions
from sharpscope.data import CONDITIONS
from sharpscope.data.conditions.resampling import blurred_along, gaussian_weights
from sharpscope.data.conditions.severity import DAMAGES, SIDES, SIMILARITY
from sharpscope.data.draws import Draws
from sharpscope.files import write_atomic
from sharpscope.seeding import Stream

PATH = Path(sharpscope.data.conditions.__file__).parent / "strengths.json"
STREAM = Stream("severities")
MASTER = 448
COUNT = 96
# Of large images fewer are enough: each has more in it.
FEWER = {64: 24, 128: 16, 224: 10}
# The least and the greatest strength that is tried, and how many in between.
RANGE, TRIED = (1e-3, 60.0), 34
# Strengths below which a corruption takes long: of a million photons each count is tabled.
LEAST = {"shot_noise": 0.01}
# Strengths beyond which a corruption makes no sense.
MOST = {"impulse_noise": 1.0, "contrast": 0.999, "brightness": 1.0, "spatter": 0.999, "pixelate": 1.0}


def reference_images(side: int, count: int = COUNT) -> Tensor:
    """Return natural-looking images, float32 ``[count, 3, side, side]`` in [0, 1]; the same scenes at all sides.

    They are dead leaves: disks that hide one another, with radii distributed as r^-3, so that edges and flat parts come
    in all sizes, as in photographs (Lee, Mumford & Huang, IJCV 2001), each with some shading and texture.
    """
    return torch.cat([functional.adaptive_avg_pool2d(_scene(index)[None], side) for index in range(count)])


@lru_cache(COUNT)
def _scene(index: int) -> Tensor:
    """Return one scene, float32 ``[3, MASTER, MASTER]``."""
    generator = np.random.default_rng(STREAM.child("scene", index).seed)
    grain = gaussian_filter(generator.normal(size=(MASTER, MASTER)), 1.5)
    grain *= 0.06 / grain.std()
    image = np.empty((3, MASTER, MASTER), dtype=np.float32)
    image[:] = generator.uniform(0.2, 0.8, (3, 1, 1))
    tint = generator.uniform(0.5, 1.0, 3)
    for _ in range(900):
        # By inversion of the distribution function of r^-3 between the two radii.
        radius = (0.015**-2 + generator.uniform() * (0.35**-2 - 0.015**-2)) ** -0.5 * MASTER
        y, x = generator.uniform(-0.1, 1.1, 2) * MASTER
        light, slope = generator.beta(1.2, 1.2), generator.normal(0, 0.1, 2)
        color = light * (0.6 * tint + 0.4 * generator.uniform(0.3, 1.2, 3))
        box = tuple(slice(max(0, int(at - radius)), max(0, int(at + radius) + 2)) for at in (y, x))
        rows, columns = (np.arange(MASTER)[part] for part in box)
        down, across = (rows[:, None] - y) / radius, (columns - x) / radius
        shade = 1 + slope[0] * down + slope[1] * across + grain[box]
        leaf = color[:, None, None] * shade
        image[:, box[0], box[1]] = np.where(down**2 + across**2 < 1, leaf, image[:, box[0], box[1]])
    return torch.from_numpy(image.clip(0, 1))


def similarity(first: Tensor, second: Tensor) -> float:
    """Return the structural similarity of images in [0, 1], averaged over pixels and scales.

    Scales are those of the images, halved until 8 pixels a side are left: noise on the pixels of a large image does
    less than on those of a small one, and so does a blur of one pixel. What is left of an octave above 8 pixels counts
    by its share, so that nothing jumps from one side to the next.

    Reference: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE Trans. on
    Image Processing, 2004.
    """
    octaves = math.log2(min(first.shape[2:]) / SIDES[0]) + 1
    found, weights = [], []
    while octaves > 0 or not found:
        found.append(_of_scale(first, second))
        weights.append(min(1.0, octaves) if octaves > 0 else 1.0)
        if octaves > 1:
            first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
        octaves -= 1
    return float(np.average(found, weights=weights))


def _of_scale(first: Tensor, second: Tensor) -> float:
    mean1, mean2 = _local(first), _local(second)
    variance1, variance2 = _local(first**2) - mean1**2, _local(second**2) - mean2**2
    covariance = _local(first * second) - mean1 * mean2
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean1 * mean2 + c1) / (mean1**2 + mean2**2 + c1)
    structure = (2 * covariance + c2) / (variance1 + variance2 + c2)
    return float((luminance * structure).mean())


def _local(images: Tensor) -> Tensor:
    """Return means over the neighborhood of each pixel, by a Gaussian window of a standard deviation of 1.5 pixels."""
    for dim in (2, 3):
        images = blurred_along(images, gaussian_weights(1.5, min(5, images.shape[dim] - 1)), dim)
    return images


def damaged(images: Tensor, name: str, strength: float) -> Tensor:
    """Return images under a corruption of a strength."""
    draws = Draws(STREAM.child(CONDITIONS[name].name), 0, len(images))
    return DAMAGES[name](images, strength, draws).clamp(0, 1)


def strengths_of(name: str, images: Tensor) -> list[float]:
    """Return how strong a corruption must be at each severity, to three digits."""
    tried = np.geomspace(LEAST.get(name, RANGE[0]), min(RANGE[1], MOST.get(name, RANGE[1])), TRIED)
    found = [1.0]
    for strength in tried:
        found.append(min(found[-1], similarity(images, damaged(images, name, float(strength)))))
        if found[-1] < SIMILARITY[-1] - 0.1:
            break
    reached = np.array(found[1:])
    if reached[-1] > SIMILARITY[-1]:
        raise SystemExit(f"{name} at side {images.shape[3]} does no more than {reached[-1]:.3f}")
    logs = np.interp([-s for s in SIMILARITY], -reached, np.log(tried[: len(reached)]))
    return [float(f"{value:.3g}") for value in np.exp(logs)]


def main(names: Iterable[str]) -> None:
    len(CONDITIONS)
    torch.set_num_threads(1)
    table = json.loads(PATH.read_text()) if PATH.exists() else {}
    images = {side: reference_images(side, FEWER.get(side, COUNT)) for side in SIDES}
    for name in names or sorted(DAMAGES):
        by_side = [strengths_of(name, images[side]) for side in SIDES]
        table[name] = [list(row) for row in zip(*by_side, strict=True)]
        print(f"{name:18s}", *(" ".join(f"{v:8.3g}" for v in row) for row in table[name]), sep="\n   ", flush=True)
        lines = [f'  "{key}": {json.dumps(rows)}' for key, rows in sorted(table.items())]
        write_atomic(PATH, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


if __name__ == "__main__":
    main(sys.argv[1:])
