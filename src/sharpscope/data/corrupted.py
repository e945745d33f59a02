"""Corrupting images: one condition is a corruption at a severity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sharpscope.data.dataset import Dataset
from sharpscope.data.draws import Draws
from sharpscope.data.registry import CORRUPTIONS
from sharpscope.errors import DataError, UnknownName
from sharpscope.seeding import Stream

SEVERITIES = (1, 2, 3, 4, 5)

# Images corrupted at a time; bounds the memory and, by the design of Draws, nothing else.
CHUNK = 1024


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    stream: Stream,
    *,
    first: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Tensor:
    """Return images under one corruption.

    The result for an image depends on its position in its set, never on the batch it comes in: corrupting a
    part with its position as ``first`` gives that part of the whole.

    Args:
        images: uint8 ``[N, C, H, W]``.
        name: Of a registered corruption.
        severity: 1 (slight) to 5 (severe).
        stream: Each condition draws from its own child of it.
        first: Position of the first image in its set.
        options: Of the corruption, where it has any.

    Returns:
        uint8 images of the same shape.

    Raises:
        DataError: If the inputs are not bytes of four dimensions, or the severity is unknown.
        UnknownName: If the corruption is.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise DataError(
            f"corruptions need uint8 images of shape [N, C, H, W], got {images.dtype} of shape "
            f"{tuple(images.shape)}; leave them out for this dataset"
        )
    if severity not in SEVERITIES:
        raise DataError(f"the severity of a corruption is 1, 2, 3, 4 or 5, got {severity!r}")
    entry = CORRUPTIONS[name]
    complete = entry.complete(options or {})
    result = torch.empty_like(images)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        draws = Draws(stream.child(name, severity), first + start, len(chunk), images.device)
        damaged = entry(chunk.to(torch.float32) / 255, severity, draws, **complete)
        # Averages of bytes often lie halfway between two. Rounding them up with a margin keeps the last bit
        # of the arithmetic, which may depend on the size of a batch, out of the result.
        result[start : start + CHUNK] = damaged.clamp(0, 1).mul(255).add(0.501).floor()
    return result


def corruptions_of(dataset: Dataset) -> dict[str, int]:
    """Return the corruptions that a dataset's test set comes under, with the versions of their definitions.

    Those of a published suite are told from generated ones by its name: ``CIFAR-10-C/fog``.
    """
    suite = dataset.corrupted
    if suite is None:
        return {name: CORRUPTIONS[name].version for name in CORRUPTIONS}
    return {f"{suite.name}/{name}": suite.version for name in suite.corruptions}


def corrupted_test_sets(
    dataset: Dataset,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    stream: Stream | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield the test inputs under every condition, one at a time, so that memory holds one copy.

    Args:
        dataset: Whose test images are corrupted: read from its published suite if it has one, else generated.
        corruptions: Names out of ``corruptions_of(dataset)``; None for all of them.
        severities: Any of 1..5.
        stream: Of the draws; None for the one that makes the corrupted test sets of a dataset the same in
            every run.

    Yields:
        The condition, such as ``gaussian_noise-3``, and uint8 images shaped like ``dataset.test_inputs``.

    Raises:
        DataError: If the dataset does not hold images, or a file of its suite is missing or damaged.
        UnknownName: If a corruption is not one of this dataset's.
    """
    offered = corruptions_of(dataset)
    draws = Stream("corruptions", dataset.name) if stream is None else stream
    for name in offered if corruptions is None else corruptions:
        if name not in offered:
            raise UnknownName("corruption", name, offered, f" of dataset '{dataset.name}'")
        for severity in severities:
            if dataset.corrupted is None:
                images = corrupt(dataset.test_inputs, name, severity, draws)
            else:
                images = dataset.corrupted.images(name.rpartition("/")[2], severity)
            yield f"{name}-{severity}", images
