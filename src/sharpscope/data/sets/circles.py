"""Two concentric circles in the plane: a decision boundary that can be drawn."""

from __future__ import annotations

import torch

from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.registry import DATASETS
from sharpscope.errors import DataError
from sharpscope.extras import optional


@DATASETS.register()
def circles(
    source: DataSource, *, samples: int = 100, factor: float = 0.5, noise: float = 0.0, seed: int = 0
) -> Dataset:
    """Two concentric circles in the plane, 2 classes; the first half of the samples trains.

    Args:
        source: Not used: the points are computed.
        samples: Training and test points together, from 4 to 10,000,000.
        factor: Radius of the inner circle over that of the outer, in [0, 1); towards 1 the classes close up.
        noise: Standard deviation of Gaussian noise on each coordinate.
        seed: Of the order of the points and of the noise.

    Returns:
        Coordinates as float32 ``[N, 2]``.

    Raises:
        DataError: If an option is out of range, or a circle has no point to train on.

    Reference: scikit-learn, ``make_circles``; the protocol is that of arXiv 2510.12451.
    """
    if not 4 <= samples <= 10_000_000 or not 0.0 <= factor < 1.0 or noise < 0.0:
        raise DataError(
            "dataset 'circles' needs 4 to 10,000,000 samples, a factor in [0, 1) and a noise of at least 0, "
            f"got samples {samples}, factor {factor} and noise {noise}"
        )
    sklearn = optional("sklearn.datasets", "study", "dataset 'circles'", DataError)
    points, labels = sklearn.make_circles(samples, factor=factor, noise=noise or None, random_state=seed)
    inputs = torch.from_numpy(points).to(torch.float32)
    targets = torch.from_numpy(labels).to(torch.int64)
    half = samples // 2
    if len(targets[:half].unique()) < 2:
        raise DataError(
            f"dataset 'circles' trains on {half} of {samples} samples, which are all of one circle by seed {seed}; "
            "take another number or seed"
        )
    return Dataset(
        name="circles",
        train_inputs=inputs[:half],
        train_targets=targets[:half],
        test_inputs=inputs[half:],
        test_targets=targets[half:],
        classes=("outer", "inner"),
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
    )
