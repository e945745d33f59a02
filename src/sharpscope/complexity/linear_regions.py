"""How many linear regions of a piecewise linear network lie along segments between samples."""

from __future__ import annotations

import hashlib
import heapq
import math
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sharpscope.complexity.input_derivatives import moves
from sharpscope.complexity.kinks import linear_pieces
from sharpscope.curvature.estimate import mean_of
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Evaluation, Need, Reduction
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch, tensors_of
from sharpscope.errors import NotDefined
from sharpscope.seeding import Stream


@measure(
    MeasureFacts(
        label="Linear regions crossed",
        symbol=r"E\,n_\mathrm{lin}",
        sharper_is="larger",
        kind="complexity",
        same_for_twins=True,
        invariances=frozenset({"LW", "NW", "b+c", "W+1u", "BN"}),
        cost="one forward pass, and for each layer of activations one of 2 x segments x regions points, in float64",
        exact=False,
        scale="ratio",
        reference=(
            'Novak et al., "Sensitivity and Generalization in Neural Networks: an Empirical Study", ICLR 2018, Section '
            '3.2; after Montufar et al., "On the Number of Linear Regions of Deep Neural Networks", NeurIPS 2014'
        ),
        caveats=(
            "It is defined for piecewise linear networks only: of ReLUs, leaky ReLUs, absolute values, hard tanhs and "
            "max-pooling.",
            "It grows with the width of the network and with the distance of the samples: compare networks of one "
            "shape on the same data.",
        ),
        unit="regions",
    )
)
def linear_regions(risk: Risk, *, segments: Annotated[int, Field(ge=2)] = 100) -> Steps:
    r"""Mean number of linear regions crossed between two samples (larger is more complex).

    A linear region is a set of inputs for which the same units are active, so that the network is one linear function
    there. Along a segment from one sample to another the regions are counted exactly, in float64: what a layer is given
    is linear between the switches of the layers before, so that its own follow from the values at these.

    Args:
        risk: Model and N samples of one floating-point tensor each.
        segments: How many, between random pairs of samples: of twice as many samples where there are so many, so that
            none is in two, and else of all of them.

    Returns:
        The mean over the segments, at least 1, with its standard error, which is 0 where all pairs are taken;
        ``details`` has ``most``, the largest number, and ``per_length``, switches of regions by unit of input.

    Raises:
        NotDefined: If the network is not piecewise linear, or there are not two samples.
        SharpscopeError: If there are more than 200,000 regions along all segments.
    """
    rows = _Rows(2 * segments, risk.stream.child("linear_regions"))
    yield rows
    starts, ends = rows.pairs(segments)
    counts = _counted(risk, rows.template, starts, ends)
    lengths = (ends - starts).flatten(1).norm(dim=1).numpy()
    switches = float((counts - 1).sum() / lengths.sum()) if lengths.sum() else 0.0
    found = mean_of(counts.tolist(), rows.samples, most=int(counts.max()), per_length=switches)
    # Of all pairs that there are, some were taken without replacement.
    left = 1 - len(counts) / math.comb(rows.samples, 2)
    return replace(found, stderr=math.sqrt(left) * found.stderr if left else 0.0, converged=True)


def _counted(risk: Risk, template: Batch, starts: Tensor, ends: Tensor) -> np.ndarray:
    """Return the number of regions along each segment."""
    double = risk.in_double()

    def evaluate(points: Tensor) -> Tensor:
        inputs = template.map(lambda _: points).inputs
        targets = template.targets.expand(len(points), *template.targets.shape[1:])
        with torch.no_grad():
            return double.call(Batch(inputs, targets), double.parameters)

    device = double.device
    found: np.ndarray = linear_pieces(starts.to(device), ends.to(device), evaluate).counts.numpy()
    return found


class _Rows(Reduction):
    """A few samples chosen at random by what is in them, so that neither their order nor the cut into batches matters.

    Args:
        most: How many to keep.
        stream: Decides which.

    Attributes:
        samples: How many were seen.
        template: A batch of one sample, in float64.
    """

    needs = Need.OUTPUTS

    def __init__(self, most: int, stream: Stream) -> None:
        self.samples = 0
        self.template: Batch
        self._most = most
        self._stream = stream
        # The largest first: what goes when a smaller one comes.
        self._kept: list[tuple[int, int, Tensor]] = []

    def update(self, evaluation: Evaluation) -> None:
        """Take a batch in."""
        batch = evaluation.batch
        found = tensors_of(batch.inputs)
        if len(found) != 1 or not moves(batch, found[0]):
            shapes = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in found)
            raise NotDefined(f"linear_regions needs samples of one floating-point tensor each, got {shapes}")
        rows = found[0].detach().cpu().double()
        if not self.samples:
            self.template = batch.take(slice(0, 1)).map(Tensor.double)
            # Now, so that a network that has no linear regions is refused before anything else is done.
            _counted(evaluation.risk, self.template, rows[:1], rows[-1:])
        salt = self._stream.seed.to_bytes(8, "big")
        for row in rows:
            key = int.from_bytes(hashlib.blake2b(row.numpy().tobytes(), digest_size=8, key=salt).digest(), "big")
            self.samples += 1
            entry = (-key, self.samples, row)
            if len(self._kept) < self._most:
                heapq.heappush(self._kept, entry)
            elif entry[0] > self._kept[0][0]:
                heapq.heapreplace(self._kept, entry)

    def pairs(self, count: int) -> tuple[Tensor, Tensor]:
        """Return so many pairs of samples, or all that there are, as the beginnings and ends of segments."""
        if self.samples < 2:
            raise NotDefined("linear_regions needs two samples at least, to go from one to the other")
        rows = torch.stack([row for _, _, row in sorted(self._kept, key=lambda entry: -entry[0])])
        if len(rows) == 2 * count:
            return rows[::2], rows[1::2]
        first, second = np.triu_indices(len(rows), 1)
        chosen = self._stream.child("pairs").numpy().permutation(len(first))[:count]
        return rows[first[chosen]], rows[second[chosen]]
