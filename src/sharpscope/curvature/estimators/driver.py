"""How an estimator that is a generator is told the products that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from torch import Tensor

Result = TypeVar("Result")
Algorithm = Generator[Tensor, Tensor, Result]


def drive(algorithm: Algorithm[Result], multiply: Callable[[Tensor], Tensor]) -> Result:
    """Run an algorithm with a function that multiplies rows by the matrix."""
    try:
        block = next(algorithm)
        while True:
            block = algorithm.send(multiply(block))
    except StopIteration as stop:
        return stop.value
