"""Which samples of a dataset in two splits are used: to train on, to test on, and to calibrate on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from sharpscope.data.dataset import Samples
from sharpscope.data.subsets.calibration import calibration_count, calibration_samples, training_size
from sharpscope.data.subsets.selection import subsets
from sharpscope.seeding import Stream


class Parts(NamedTuple):
    """Samples of two splits, as indices in ascending order.

    Attributes:
        train: Of the training pool, those to train on.
        test: Of the test split.
        calibration: Of the training pool, those to calibrate on; none of them is in ``train``, and there may be none.
    """

    train: Tensor
    test: Tensor
    calibration: Tensor

    def to_calibrate(self, inputs_at: Callable[[Tensor], Tensor], targets: Tensor) -> Samples | None:
        """Return the samples to calibrate on; None where there are none.

        Args:
            inputs_at: Returns the inputs at some indices into the training pool.
            targets: Class indices of the pool, shape ``[N]``.
        """
        chosen = self.calibration
        return Samples(inputs_at(chosen), targets[chosen]) if len(chosen) else None


@dataclass(frozen=True)
class Sizes:
    """How much of a dataset in two splits is used, by the options of its reader.

    Attributes:
        train_size: Size of a stratified training subset; None for all. Sizes are nested.
        test_size: Size of a stratified test subset, the same for every seed; None for all.
        subset_seed: Which training subset of that size.
        calibration_size: Samples of the training pool to calibrate on; see ``calibration_count``.
    """

    train_size: int | None = None
    test_size: int | None = None
    subset_seed: int = 0
    calibration_size: int | None = None

    def parts(self, name: str, train_targets: Tensor, test_targets: Tensor) -> Parts:
        """Return which samples are used.

        Args:
            name: Of the dataset; each draws from its own streams.
            train_targets: Class indices of the training pool, shape ``[N]``.
            test_targets: Class indices of the test split, likewise.

        Raises:
            DataError: If a size is out of range, or a class is tested that there is nothing to learn of.
        """
        pool = len(train_targets)
        size = training_size(pool, self.train_size, self.calibration_size)
        train, test = subsets(name, train_targets, test_targets, size, self.test_size, self.subset_seed)
        count = calibration_count(pool, self.train_size, self.calibration_size)
        stream = Stream(name, "train", self.subset_seed)
        return Parts(train, test, calibration_samples(train_targets, count, stream))
