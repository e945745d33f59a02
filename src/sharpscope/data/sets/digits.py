"""The digits of scikit-learn: real handwriting that comes with the package."""

from __future__ import annotations

import torch
from torch import Tensor

from sharpscope.data.augmentations.geometric import random_rotation
from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.registry import DATASETS
from sharpscope.data.subsets.parts import Sizes
from sharpscope.data.subsets.selection import stratified
from sharpscope.errors import DataError
from sharpscope.extras import optional
from sharpscope.seeding import Stream

TEST_SIZE = 797


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by at most one pixel and rotate by at most 10 degrees; a mirrored digit is no digit."""
    return random_rotation(images, generator, degrees=10.0, shift=1)


@DATASETS.register()
def digits(
    source: DataSource, *, train_size: int | None = 500, subset_seed: int = 0, calibration_size: int | None = None
) -> Dataset:
    """Handwritten digits, 8x8 gray, 10 classes: 797 to test, up to 1,000 to train; needs no files.

    The test split is the same for every option. Values 0..16 become bytes 0..255.

    Args:
        source: Not used: the images come with scikit-learn.
        train_size: Size of the stratified training set, 10 to 1,000; None for all. Sizes are nested.
        subset_seed: Which training set of that size.
        calibration_size: Images to calibrate on, which are not trained on. None for 500 of those that ``train_size``
            leaves over, or what is left; none where fewer than 100 are left. A number is taken off the training set
            where ``train_size`` is None.

    Returns:
        Images as uint8 ``[N, 1, 8, 8]``.

    Raises:
        DataError: If a size is out of range.

    Reference: Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository
        1998.
    """
    sklearn = optional("sklearn.datasets", "study", "dataset 'digits'", DataError)
    values, classes = map(torch.from_numpy, sklearn.load_digits(return_X_y=True))
    images = values.reshape(-1, 1, 8, 8).mul(255 / 16).round().to(torch.uint8)
    targets = classes.to(torch.int64)
    test = stratified(targets, TEST_SIZE, Stream("digits", "test"))
    pool = torch.ones(len(targets), dtype=torch.bool).index_fill(0, test, False).nonzero().squeeze(1)
    sizes = Sizes(train_size, subset_seed=subset_seed, calibration_size=calibration_size)
    parts = sizes.parts("digits", targets[pool], targets[test])
    train = pool[parts.train]
    return Dataset(
        name="digits",
        train_inputs=images[train],
        train_targets=targets[train],
        test_inputs=images[test],
        test_targets=targets[test],
        classes=tuple("0123456789"),
        # Of the 1,000 images to train on, so that no training set size sees the test split.
        mean=(0.3041,),
        std=(0.3757,),
        augment=augment,
        calibration=parts.to_calibrate(lambda chosen: images[pool[chosen]], targets[pool]),
    )
