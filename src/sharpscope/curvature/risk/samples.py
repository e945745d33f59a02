"""The samples of a risk: counted, and seen to be the same in every pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from sharpscope.curvature.risk.batches import Batch
from sharpscope.errors import NotDeterministic, SharpscopeError

# The relative difference of a mean loss that another order of the samples may make, and the least loss it is of.
_SAME, _LEAST = 1e-5, 1e-6


class Samples:
    """Batches in a fixed order.

    Args:
        batches: Re-iterable.

    Attributes:
        count: N; 0 before the first whole pass.
        mean_loss: Of the first pass that told of one.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self.count = 0
        self.mean_loss: float | None = None

    @property
    def ordered(self) -> bool:
        """Whether every pass certainly has the same batches in the same order."""
        return isinstance(self._batches, list | tuple) or getattr(self._batches, "ordered", False)

    def targets(self) -> Iterator[Tensor]:
        """Yield the targets of every batch, where they are: a pass as any other."""
        return (batch.targets for batch in self)

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches that are not empty, and count their samples.

        Raises:
            SharpscopeError: If there is no sample, or none any more.
            NotDeterministic: If their number has changed since the last pass.
        """
        seen = 0
        for batch in self._batches:
            if batch.size:
                seen += batch.size
                yield batch
        if seen == 0 and self.count:
            raise SharpscopeError(
                f"the data had {self.count} samples in the first pass and none in a later one, as an iterator that "
                "serves once; pass a list of batches, a DataLoader or a Dataset"
            )
        if seen == 0:
            raise SharpscopeError("the data has no samples; pass at least one batch")
        if self.count not in (0, seen):
            raise NotDeterministic(f"the data had {self.count} samples in the first pass and {seen} in a later one")
        self.count = seen

    def check_same(self, mean_loss: float) -> None:
        """Take note of the mean loss of a pass.

        Raises:
            NotDeterministic: If an earlier pass had another one.
        """
        if self.mean_loss is None:
            self.mean_loss = mean_loss
        elif abs(mean_loss - self.mean_loss) > _SAME * max(abs(self.mean_loss), _LEAST):
            raise NotDeterministic(
                f"the mean loss was {self.mean_loss:.8g} in one pass over the data and {mean_loss:.8g} in another; "
                "measure on fixed data, without random augmentation"
            )
