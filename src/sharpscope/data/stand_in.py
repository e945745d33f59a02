"""Stand-ins for datasets whose files are not there: enough to plan a study and to time it, nothing to learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sharpscope.data.dataset import Dataset, Samples
from sharpscope.data.registry import DATASETS, DatasetFacts
from sharpscope.data.subsets.calibration import calibration_count, training_size
from sharpscope.errors import DataError
from sharpscope.seeding import Stream


@dataclass(frozen=True)
class DeclaredSuite:
    """What is known of a published suite of corruptions without its files.

    Attributes:
        name: What it is called.
        corruptions: Those that it holds.
        version: Of how it is read.
    """

    name: str
    corruptions: tuple[str, ...]
    version: int = 1

    def prepare(self) -> None:
        """See that every file is there.

        Raises:
            DataError: Always: none is.
        """
        raise DataError(f"the files of {self.name} are missing")

    def images(self, corruption: str, severity: int) -> Tensor:
        """Return nothing.

        Raises:
            DataError: Always.
        """
        raise DataError(f"the files of {self.name} are missing")


def stand_in(name: str, options: Mapping[str, Any]) -> Dataset | None:
    """Return noise in the shape and the number of a dataset's images, in next to no memory.

    Args:
        name: Of a registered dataset.
        options: All of its options; ``train_size``, ``test_size`` and ``calibration_size`` count.

    Returns:
        The stand-in, which must never be trained on for a result; None if the dataset declares no shape.

    Raises:
        DataError: If there are not so many samples.
    """
    facts = DATASETS[name].facts
    if not isinstance(facts, DatasetFacts):
        return None
    train = _size(name, "train_size", options, facts.train_size)
    asked, held = options.get("train_size"), options.get("calibration_size")
    calibration = calibration_count(facts.train_size, asked, held)
    train = training_size(facts.train_size, asked, held) or train
    test = _size(name, "test_size", options, facts.test_size)
    train_samples, test_samples = _samples(train, facts), _samples(test, facts)
    channels = facts.shape[0]
    return Dataset(
        name=name,
        train_inputs=train_samples.inputs,
        train_targets=train_samples.targets,
        test_inputs=test_samples.inputs,
        test_targets=test_samples.targets,
        classes=tuple(map(str, range(facts.classes))),
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        augment=facts.augment,
        corrupted=DeclaredSuite(*facts.suite) if facts.suite else None,
        calibration=_samples(calibration, facts) if calibration else None,
    )


def _samples(count: int, facts: DatasetFacts) -> Samples:
    return Samples(_noise(count, facts.shape), torch.arange(count) % facts.classes)


def _size(name: str, option: str, options: Mapping[str, Any], most: int) -> int:
    size = options.get(option)
    if size is None:
        return most
    if not 1 <= size <= most:
        raise DataError(f"{option} of dataset '{name}' must be from 1 to {most}, got {size}")
    return int(size)


def _noise(count: int, shape: tuple[int, ...]) -> Tensor:
    """Return random images that share their memory: each is the one before, moved on by one byte."""
    size = math.prod(shape)
    noise = torch.randint(256, (count + size - 1,), dtype=torch.uint8, generator=Stream("stand-in").torch())
    return noise.unfold(0, size, 1).unflatten(1, shape)
