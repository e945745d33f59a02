"""What a dataset is: tensors of a training and a test split, and what it declares of itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sharpscope.errors import DataError
from sharpscope.extras import optional
from sharpscope.objective import OBJECTIVES, Objective
from sharpscope.task import CLASSIFICATION, Task

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
_WHERE = {"training": "training", "test": "the test", "calibration": "calibration"}


@dataclass(frozen=True)
class DataSource:
    """Where the files of a dataset may come from; it never changes what a dataset holds.

    Attributes:
        data_dir: The user's folder of datasets, searched first; None for the cache alone.
        download: Whether a file that is nowhere may be fetched.

    Raises:
        DataError: If ``data_dir`` is given and is not a folder.
    """

    data_dir: Path | None = None
    download: bool = True

    def __post_init__(self) -> None:
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise DataError(f"data directory {self.data_dir} is not a folder; create it or name another one")

    @property
    def home(self) -> Path:
        """The folder that files are looked for in and downloaded to: the user's, else the cache."""
        return self.data_dir or _cache()


def _cache() -> Path:
    platformdirs = optional("platformdirs", "study", "the cache of datasets", DataError)
    return Path(platformdirs.user_cache_dir("sharpscope"))


class Samples(NamedTuple):
    """Inputs with their targets.

    Attributes:
        inputs: Shape ``[N, ...]``.
        targets: Shape ``[N]``, or ``[N, D]``.
    """

    inputs: Tensor
    targets: Tensor


class CorruptionSuite(Protocol):
    """Corrupted copies of a test set that somebody published, read from their files when they are wanted."""

    @property
    def name(self) -> str:
        """What it is called: ``CIFAR-10-C``."""

    @property
    def version(self) -> int:
        """Of how it is read; predictions on what another version read are made anew."""

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The names of its corruptions, each at the severities 1 to 5."""

    def prepare(self) -> None:
        """See that every file is there and is the published one; download what is missing.

        Raises:
            DataError: If a file is missing or damaged.
        """

    def images(self, corruption: str, severity: int) -> Tensor:
        """Return the test inputs under one corruption at one severity, in the order of the dataset's own.

        Raises:
            DataError: If a file is missing or damaged.
        """


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset held in memory, split once and for all.

    Attributes:
        name: The name it is registered under.
        train_inputs: Images as uint8 ``[N, C, H, W]``, float features ``[N, D]``, or symbols as int64 ``[N, L]``.
        train_targets: Class indices, int64 ``[N]``; of regression float32 ``[N]`` or ``[N, D]``.
        test_inputs: Like ``train_inputs``; never augmented.
        test_targets: Like ``train_targets``.
        classes: Names of the classes, in the order of their indices; none of regression.
        mean: Mean of each channel; for images in units of [0, 1]; empty for symbols.
        std: Standard deviation of each channel, likewise.
        augment: The augmentation that suits the data, or None. It maps a batch of inputs on any device, with
            a generator on that device, to a batch of the same shape and dtype: a training step gathers its
            batch, augments it, then normalizes it.
        vocabulary: The number of symbols, where inputs are symbols.
        corrupted: The published corruptions of the test set, which take the place of generated ones.
        task: What is asked of a network.
        calibration: Samples of the training pool that are never trained on, where there are any: temperatures are
            fitted to them.
        truth: Where it is known what the targets are values of: from any inputs to targets, as above.
        region: Of points in the plane, the rectangle that they are taken from: (left, right, bottom, top).
        source: Where the files of other datasets are, which may take the place of the test set.

    Raises:
        DataError: If the tensors do not fit each other.
    """

    name: str
    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augmentation | None = None
    vocabulary: int | None = None
    corrupted: CorruptionSuite | None = None
    task: Task = CLASSIFICATION
    calibration: Samples | None = None
    truth: Callable[[Tensor], Tensor] | None = None
    region: tuple[float, float, float, float] | None = None
    source: DataSource = field(default_factory=DataSource, repr=False)

    def __post_init__(self) -> None:
        self.objective.check_declared(self.name, self.classes)
        for split, inputs, targets in (
            ("training", self.train_inputs, self.train_targets),
            ("test", self.test_inputs, self.test_targets),
            *([] if self.calibration is None else [("calibration", *self.calibration)]),
        ):
            self._check(split, inputs, targets)
            if self.vocabulary is not None:
                self._check_symbols(split, inputs)
        if self.vocabulary is None:
            self._check_normalization()

    def _check(self, split: str, inputs: Tensor, targets: Tensor) -> None:
        shape = tuple(self.train_inputs.shape[1:])
        if len(inputs) == 0:
            raise DataError(f"dataset '{self.name}' has no {split} sample; give it some")
        self.objective.check_targets(self.name, split, targets, len(inputs), self.classes)
        if targets.shape[1:] != self.train_targets.shape[1:]:
            raise DataError(
                f"dataset '{self.name}' needs targets of one shape, got {tuple(self.train_targets.shape[1:])} for "
                f"training and {tuple(targets.shape[1:])} for {_WHERE[split]}"
            )
        if tuple(inputs.shape[1:]) != shape or inputs.dtype != self.train_inputs.dtype:
            raise DataError(
                f"dataset '{self.name}' needs inputs of one shape and dtype, got {self.train_inputs.dtype} "
                f"{shape} for training and {inputs.dtype} {tuple(inputs.shape[1:])} for {_WHERE[split]}"
            )
        if inputs.is_floating_point() and not torch.isfinite(inputs).all():
            raise DataError(f"dataset '{self.name}' has {split} inputs that are NaN or infinite; leave them out")

    def _check_normalization(self) -> None:
        if not len(self.mean) == len(self.std) == self.train_inputs.shape[1]:
            raise DataError(
                f"dataset '{self.name}' has {self.train_inputs.shape[1]} channels but declares "
                f"{len(self.mean)} means and {len(self.std)} standard deviations; give one of each a channel"
            )
        finite = all(map(math.isfinite, self.mean)) and all(0 < std < math.inf for std in self.std)
        # The mean of bytes may be anything in [0, 1], and their deviation is half of that range at most.
        bytes_ = self.train_inputs.dtype == torch.uint8
        if not finite or (bytes_ and (max(self.mean) > 1 or min(self.mean) < 0 or max(self.std) > 1)):
            raise DataError(
                f"dataset '{self.name}' declares means {_first(self.mean)} and standard deviations {_first(self.std)}, "
                "which must be finite, the latter above 0, and for bytes in units of [0, 1]; divide those of 0..255 by "
                "255"
            )

    def _check_symbols(self, split: str, inputs: Tensor) -> None:
        if inputs.dtype != torch.int64 or inputs.ndim != 2:
            raise DataError(
                f"dataset '{self.name}' declares a vocabulary, so its {split} inputs must be int64 of shape [N, L], "
                f"got {inputs.dtype} of shape {tuple(inputs.shape)}"
            )
        low, high = int(inputs.min()), int(inputs.max())
        if low < 0 or high >= (self.vocabulary or 0):
            raise DataError(
                f"dataset '{self.name}' declares {self.vocabulary} symbols, so its {split} inputs must lie in "
                f"0..{(self.vocabulary or 0) - 1}, got {low}..{high}"
            )

    @property
    def objective(self) -> Objective:
        """What the task computes with tensors."""
        return OBJECTIVES[self.task.name]

    @property
    def outputs(self) -> int:
        """How many outputs a model of these data has."""
        return self.objective.outputs(self.train_targets, self.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: ``(C, H, W)`` or ``(D,)``, for symbols ``(L, vocabulary)`` as if one-hot."""
        shape = tuple(self.train_inputs.shape[1:])
        return shape if self.vocabulary is None else (*shape, self.vocabulary)

    @property
    def pictured(self) -> bool:
        """Whether what a model learns can be pictured: a class, or one number, at each point of the plane."""
        in_plane = self.train_inputs.is_floating_point() and self.input_shape == (2,)
        return in_plane and (self.task.classes or self.outputs == 1)

    def normalize(self, inputs: Tensor) -> Tensor:
        """Return what a model sees: float32, brought to zero mean and unit variance in each channel.

        Args:
            inputs: Any batch of this dataset's inputs, augmented or corrupted or neither; bytes are first
                brought to [0, 1], and symbols are left alone.
        """
        if self.vocabulary is not None:
            return inputs
        # In one multiplication and one addition: this runs in every training step.
        unit = 255.0 if inputs.dtype == torch.uint8 else 1.0
        broadcast = (-1, *(1,) * (inputs.ndim - 2))
        mean = torch.tensor(self.mean, device=inputs.device).view(broadcast)
        std = torch.tensor(self.std, device=inputs.device).view(broadcast)
        return inputs.to(torch.float32).mul(1.0 / (unit * std)).sub_(mean / std)

    @cached_property
    def digest(self) -> str:
        """A checksum of what is trained and tested on and of how it is normalized, computed once."""
        hashed = hashlib.blake2b(repr((self.mean, self.std)).encode(), digest_size=16)
        for tensor in (self.train_inputs, self.train_targets, self.test_inputs, self.test_targets):
            hashed.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            hashed.update(tensor.contiguous().numpy().data)
        return hashed.hexdigest()


def _first(values: tuple[float, ...]) -> str:
    """Return a few of many values, for a message."""
    return ", ".join(map(str, values[:3])) + (", ..." if len(values) > 3 else "")
