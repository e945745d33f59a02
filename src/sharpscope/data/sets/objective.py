"""Regression on a known function of the plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.draws import Draws
from sharpscope.data.registry import DATASETS
from sharpscope.data.sets.known_functions import FUNCTIONS
from sharpscope.errors import FAULTS, DataError, UnknownName, one_line
from sharpscope.seeding import Stream
from sharpscope.task import REGRESSION

Region = tuple[float, float, float, float]
_OPTIMIZATION = (-3.5, 3.5, -3.5, 3.5)


@DATASETS.register()
def objective(
    source: DataSource,
    *,
    function: str = "sphere",
    samples: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000,
    region: Region = _OPTIMIZATION,
    standardize: bool = False,
    seed: int = 0,
) -> Dataset:
    """A test function of optimization at uniform points of the plane, a regression; as many to test as to train.

    All functions are seen at the same points, and those of a smaller number are the first of a larger one. Points are
    given to a model as they are.

    Args:
        source: Not used: the targets are computed.
        function: sphere, booth, three_hump_camel, himmelblau, rosenbrock, beale, rastrigin, ackley or griewank; or one
            of your own as ``module:function``, which maps two float64 tensors, the coordinates, to one of the same
            shape.
        samples: To train, and again to test, from 1 to 10,000,000.
        region: Where the points are: (left, right, bottom, top).
        standardize: Bring the targets to zero mean and unit variance over the training split, and those to test by the
            same map. Without it sharpness has the square of each function's own scale in it.
        seed: Of the points.

    Returns:
        Coordinates as float32 ``[N, 2]``, targets as float32 ``[N]``.

    Raises:
        DataError: If the region is empty, the function is unknown, or its values are not one finite number a point, or
            all alike where they are to be standardized.

    Reference: Jamil & Yang, "A Literature Survey of Benchmark Functions For Global Optimisation Problems", 2013; the
        protocol is that of arXiv 2510.12451.
    """
    left, right, bottom, top = region
    if not (left < right and bottom < top):
        raise DataError(
            f"dataset 'objective' needs a region (left, right, bottom, top) with left < right and bottom < top, got "
            f"{region}"
        )
    values = _values_of(function)
    train, test = (_points(region, samples, Stream("objective", split, seed)) for split in ("train", "test"))
    shift, scale = _standardizing(function, values(train)) if standardize else (0.0, 1.0)

    def truth(points: Tensor) -> Tensor:
        return ((values(points) - shift) / scale).to(torch.float32)

    return Dataset(
        name="objective",
        train_inputs=train,
        train_targets=truth(train),
        test_inputs=test,
        test_targets=truth(test),
        classes=(),
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        task=REGRESSION,
        truth=truth,
        region=region,
    )


def _points(region: Region, count: int, stream: Stream) -> Tensor:
    left, right, bottom, top = region
    unit = Draws(stream, 0, count).uniform("points", 2).double()
    low, high = torch.tensor([left, bottom]).double(), torch.tensor([right, top]).double()
    return (low + (high - low) * unit).to(torch.float32)


def _values_of(name: str) -> Callable[[Tensor], Tensor]:
    """Return a function by its name, from points ``[N, 2]`` to float64 values ``[N]``.

    Raises:
        DataError: If there is none of the name; what is returned raises it where a value is no finite number.
    """
    try:
        function = FUNCTIONS[name]
    except UnknownName as error:
        raise DataError(str(error)) from None

    def values(points: Tensor) -> Tensor:
        x, y = points.double().unbind(dim=1)
        try:
            found = torch.as_tensor(function(x, y))
        except FAULTS as error:
            raise DataError(f"the test function '{name}' cannot be computed ({one_line(error)})") from error
        if found.shape != x.shape or found.is_complex():
            raise DataError(
                f"the test function '{name}' should return one number for each of {len(x)} points, got "
                f"{found.dtype} of shape {tuple(found.shape)}"
            )
        if not torch.isfinite(found).all():
            first = int((~torch.isfinite(found)).nonzero()[0])
            raise DataError(
                f"the test function '{name}' is not finite at ({float(x[first]):g}, {float(y[first]):g}); choose a "
                "region where it is"
            )
        return found.double()

    return values


def _standardizing(name: str, values: Tensor) -> tuple[float, float]:
    """Return the mean of values, and their standard deviation."""
    deviation = float(values.std(correction=0))
    if bool((values == values[0]).all()) or deviation == 0:
        raise DataError(f"the test function '{name}' is constant at its points, and cannot be standardized")
    return float(values.mean()), deviation
