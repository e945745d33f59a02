"""Conditions of data that are other datasets: real images that a network has never seen the like of, or has."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sharpscope.condition import OTHER_DATA, ConditionFacts
from sharpscope.data.dataset import Dataset
from sharpscope.data.registry import CONDITIONS, DATASETS
from sharpscope.errors import DataError, SharpscopeError
from sharpscope.seeding import Stream

# Of red, green and blue in a gray value: ITU-R BT.601, as Pillow has it.
_LUMA = (0.299, 0.587, 0.114)


@CONDITIONS.family(
    OTHER_DATA,
    facts=ConditionFacts(
        "data",
        "Another dataset",
        family="other data",
        severities=(1,),
        caveats=(
            "Its targets are of no meaning, so that only confidences can be scored.",
            "Images of other sizes are resized, and a network may tell them by that alone.",
        ),
        reference='Hendrycks & Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in '
        'Neural Networks", ICLR 2017',
    ),
)
def other_dataset(name: str, dataset: Dataset, severity: int, stream: Stream) -> tuple[Tensor, Tensor]:
    """Test images of another dataset in the size and with the channels of this one, as many as this one has at most.

    Args:
        name: Of a dataset, or as JSON its name with options.
        dataset: The data of the study.
        severity: Of no meaning.
        stream: Which images are taken, where there are more.

    Raises:
        DataError: If either holds no images, or both are one.
    """
    _check_images(dataset)
    other = _loaded(name, dataset)
    _check_images(other)
    if torch.equal(other.test_inputs, dataset.test_inputs):
        raise DataError(f"'{other.name}' are the data of the study; other data must be others")
    count = min(len(other.test_inputs), len(dataset.test_inputs))
    # Not the first ones: those of MNIST are known to be the easier ones, and folders come class by class.
    chosen = torch.randperm(len(other.test_inputs), generator=stream.torch())[:count].sort().values
    images = fitted(other.test_inputs[chosen], dataset.test_inputs.shape[1:])
    return images, torch.zeros(count, dtype=dataset.test_targets.dtype)


def _check_images(dataset: Dataset) -> None:
    if dataset.test_inputs.dtype != torch.uint8 or dataset.test_inputs.ndim != 4:
        raise DataError(f"other data take the place of images, and '{dataset.name}' has none; leave the score out")


def _loaded(name: str, dataset: Dataset) -> Dataset:
    options: dict[str, Any] = json.loads(name) if name.startswith("{") else {"name": name}
    member = DATASETS[options.pop("name")]
    try:
        other: Dataset = member(dataset.source, **member.complete(options))
    except SharpscopeError as error:
        raise DataError(f"the other data '{member.name}' cannot be had: {error}") from None
    return other


def fitted(images: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Return images in another size, by areas where they become smaller, and in gray or color.

    Args:
        images: uint8 ``[N, C, H, W]``.
        shape: Channels, height and width; one or three channels.

    Returns:
        uint8 ``[N, *shape]``.

    Raises:
        DataError: If channels can be neither averaged nor repeated.
    """
    channels, height, width = shape
    if images.shape[1] != channels and {images.shape[1], channels} != {1, 3}:
        raise DataError(
            f"images of {images.shape[1]} channels cannot be brought to {channels}; take gray or color ones"
        )
    unit = images.to(torch.float32)
    if images.shape[1] > channels:
        unit = (unit * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    if unit.shape[2:] != (height, width):
        unit = functional.interpolate(unit, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return unit.round().clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1).contiguous()
