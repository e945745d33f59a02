"""The diabetes data of scikit-learn: a regression that comes with the package."""

from __future__ import annotations

import torch
from torch import Tensor

from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.registry import DATASETS
from sharpscope.data.subsets.selection import random_subset
from sharpscope.errors import DataError
from sharpscope.extras import optional
from sharpscope.seeding import Stream
from sharpscope.task import REGRESSION

TEST_SIZE = 142


@DATASETS.register()
def diabetes(source: DataSource, *, train_size: int | None = None, subset_seed: int = 0) -> Dataset:
    """Progression of diabetes within a year from 10 measurements, a regression: 142 to test, up to 300 to train.

    The test split is the same for every option. Inputs and targets are brought to zero mean and unit variance by the
    300 samples to train on, so that a mean squared error of 1 is that of always predicting their mean.

    Args:
        source: Not used: the numbers come with scikit-learn.
        train_size: Size of a random training set, 1 to 300; None for all. Sizes are nested.
        subset_seed: Which training set of that size.

    Returns:
        Inputs as float32 ``[N, 10]``, targets as float32 ``[N]``.

    Raises:
        DataError: If ``train_size`` is out of range.

    Reference: Efron et al., "Least Angle Regression", Annals of Statistics 2004.
    """
    sklearn = optional("sklearn.datasets", "study", "dataset 'diabetes'", DataError)
    inputs, targets = map(torch.from_numpy, sklearn.load_diabetes(return_X_y=True, scaled=False))
    test = random_subset(len(targets), TEST_SIZE, Stream("diabetes", "test"))
    pool = torch.ones(len(targets), dtype=torch.bool).index_fill(0, test, False).nonzero().squeeze(1)
    train = pool[random_subset(len(pool), train_size, Stream("diabetes", "train", subset_seed))]
    # By all samples to train on, so that no training set size sees the test split, and losses of all sizes compare.
    scaled = _standardized(targets, pool).to(torch.float32)
    mean, std = inputs[pool].mean(dim=0), inputs[pool].std(dim=0, correction=0)
    return Dataset(
        name="diabetes",
        train_inputs=inputs[train].to(torch.float32),
        train_targets=scaled[train],
        test_inputs=inputs[test].to(torch.float32),
        test_targets=scaled[test],
        classes=(),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        task=REGRESSION,
    )


def _standardized(values: Tensor, by: Tensor) -> Tensor:
    """Return values brought to zero mean and unit variance in some of the samples."""
    return (values - values[by].mean()) / values[by].std(correction=0)
