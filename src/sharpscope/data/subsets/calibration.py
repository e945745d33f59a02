"""The calibration split: samples of the training pool that no model is trained on, to fit a temperature to.

A training set is the beginning of an order in which the pool is drawn, and this is its end. So it is stratified, the
same for all seeds and regimes, and the same for training sets of different sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sharpscope.data.subsets.selection import stratified
from sharpscope.errors import DataError
from sharpscope.seeding import Stream

# Of what a training set leaves over, where no size is given: a tenth of the pool, within these bounds.
SHARE, FEWEST, MOST = 0.1, 500, 5000
# Fewer do not tell a temperature.
LEAST = 100


def calibration_count(pool: int, train_size: int | None, calibration_size: int | None) -> int:
    """Return how many samples the calibration split has.

    By itself it takes nothing from the training set: it is drawn from what that leaves over, and there is none where
    that is too little.

    Args:
        pool: How many samples there are to train on and to calibrate on.
        train_size: As the dataset has it; None for all that calibration leaves.
        calibration_size: As the dataset has it; None for the size that suits.

    Raises:
        DataError: If there are not so many.

    >>> calibration_count(60_000, 2000, None), calibration_count(1000, 500, None), calibration_count(1000, None, None)
    (5000, 500, 0)
    >>> calibration_count(50_000, None, 5000)
    5000
    """
    left = 0 if train_size is None else pool - train_size
    if calibration_size is None:
        size = min(max(round(SHARE * pool), FEWEST), MOST, left)
        return size if size >= LEAST else 0
    most = pool - 1 if train_size is None else left
    if not 0 <= calibration_size <= most:
        raise DataError(
            f"calibration_size must be from 0 to {most}, got {calibration_size}: of {pool} samples to train and to "
            f"calibrate on, train_size takes {'the rest' if train_size is None else train_size}"
        )
    return calibration_size


def training_size(pool: int, train_size: int | None, calibration_size: int | None) -> int | None:
    """Return the size of the training set: what a calibration split of a given size leaves, where all is asked for.

    Args:
        pool: As of ``calibration_count``.
        train_size: Likewise.
        calibration_size: Likewise.
    """
    if train_size is not None or not calibration_size:
        return train_size
    return pool - calibration_count(pool, train_size, calibration_size)


def calibration_samples(targets: Tensor, count: int, stream: Stream) -> Tensor:
    """Return which samples of the pool make the calibration split, as indices in ascending order, int64 ``[count]``.

    Args:
        targets: Class indices of the pool, shape ``[N]``.
        count: How many.
        stream: That the training set is drawn from.
    """
    others = stratified(targets, len(targets) - count, stream, every_class="inside")
    return torch.ones(len(targets), dtype=torch.bool).index_fill(0, others, False).nonzero().squeeze(1)
