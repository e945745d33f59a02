"""How long the decision boundary is in the plane, by counting its crossings with random lines."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from sharpscope.complexity.input_derivatives import moves
from sharpscope.curvature.estimate import mean_of
from sharpscope.curvature.estimators.sequential_sampling import Draws, draw_rounds, judged
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Evaluation, Need, Reduction
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch, tensors_of
from sharpscope.errors import NotDefined

# Directions of a draw: a straight boundary has its length to 1% from so many, whatever the angle.
_DIRECTIONS = 8
# Steps along a line for each line of a direction: what is missed along a line is a bias, between lines it is not.
_STEPS = 4
# Points evaluated at a time.
_PIECE = 2048

Edges = tuple[float, float, float, float]


def _not_empty(edges: Edges) -> Edges:
    left, right, bottom, top = edges
    if not (left < right and bottom < top):
        raise ValueError("expected (left, right, bottom, top) with left < right and bottom < top")
    return edges


Region = Annotated[Edges, AfterValidator(_not_empty)]


@measure(
    MeasureFacts(
        label="Length of the decision boundary",
        symbol=r"|\partial|",
        sharper_is="larger",
        kind="complexity",
        of_classes=lambda options: True,
        same_for_twins=True,
        invariances=frozenset({"LW", "NW", "b+c", "W+1u", "BN"}),
        cost="one forward pass, and one of 32 x draws x lines^2 points of the plane (264,000)",
        exact=False,
        scale="ratio",
        reference=(
            'Varshney and Willsky, "Classification Using Geometric Level Sets", JMLR 2010, Section 2; by the formula '
            'of Cauchy and Crofton: Santalo, "Integral Geometry and Geometric Probability", 1976, Chapter 3'
        ),
        caveats=(
            "It is defined for inputs of two numbers only.",
            "It is the length within a rectangle: compare models in one and the same, by the option region.",
            "Strips of a class are seen in part where they are thinner than the distance of points, at most the "
            "diagonal of the region over 4 x lines.",
        ),
        unit="units of input",
    )
)
def boundary_length(
    risk: Risk,
    *,
    draws: Draws = 8,
    lines: Annotated[int, Field(ge=1)] = 32,
    region: Region | None = None,
) -> Steps:
    r"""Length of the boundary between predictions, for inputs in the plane (larger is more complex).

    .. math:: |\partial| = \frac{1}{2} \int_0^\pi \int n(s, \theta) \, ds \, d\theta

    with n the number of times that the prediction changes along the line at the angle theta and the distance s from the
    origin, within a rectangle. Each draw takes eight directions at equal angles, turned at random, and in each of them
    parallel lines at equal distances, moved at random; along each line are equidistant points from edge to edge. This
    is unbiased but for changes that undo each other between two points.

    Args:
        risk: Model and N samples of two numbers each, floating-point; outputs of at least two classes.
        draws: How many, at least 2. With ``rtol`` of the risk, more are drawn until it is reached, at most 64 times as
            many.
        lines: Lines in each direction of a draw, with four times as many steps along each.
        region: The rectangle as (left, right, bottom, top); the least one that holds all samples when None.

    Returns:
        The estimate. ``stderr`` contains the spread over draws and how much is missed when every other point is left
        out; ``details`` has that as ``missed``, and the region.

    Raises:
        NotDefined: If inputs are not two numbers, there is one output only, or all samples lie on one line along an
            axis.
    """
    given = None if region is None else _Rectangle(*region)
    plane = _Plane()
    yield plane
    rectangle = given or plane.rectangle()
    stream = risk.stream.child("boundary_length")
    missed: list[float] = []

    def make(start: int, count: int) -> Generator[Any, Any, list[float]]:
        # Points are no samples, so that no pass over the data is asked for.
        yield from ()
        lengths = []
        for number in range(start, start + count):
            whole, coarse = _draw(risk, plane, rectangle, lines, stream.child(number).numpy())
            lengths.append(whole)
            missed.append(whole - coarse)
        return lengths

    lengths = yield from draw_rounds(make, draws, risk.rtol)
    unseen = abs(math.fsum(missed)) / len(missed)
    found = mean_of(lengths, plane.samples, region=rectangle.edges, missed=unseen)
    return judged(replace(found, stderr=math.hypot(found.stderr, unseen)), risk.rtol)


@dataclass(frozen=True)
class _Rectangle:
    """A part of the plane."""

    left: float
    right: float
    bottom: float
    top: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top."""
        return self.left, self.right, self.bottom, self.top

    def chords(self, angles: np.ndarray, shifts: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where ``count`` parallel lines of each direction enter and leave, and their distance.

        Args:
            angles: Of the normals of the lines, ``[D]``.
            shifts: Where between its neighbors each line of a direction lies, ``[D]`` in [0, 1).
            count: How many.

        Returns:
            Points ``[D, count, 2]``, twice, and distances ``[D]``.
        """
        normals = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        along = np.stack([-normals[:, 1], normals[:, 0]], axis=1)[:, None]
        low, high = np.array([self.left, self.bottom]), np.array([self.right, self.top])
        corners = np.array([(x, y) for x in (self.left, self.right) for y in (self.bottom, self.top)]) @ normals.T
        distances = np.ptp(corners, axis=0) / count
        heights = corners.min(axis=0)[:, None] + distances[:, None] * (np.arange(count) + shifts[:, None])
        feet = heights[..., None] * normals[:, None]
        # An axis that the lines run across bounds them; one that they run beside does not.
        bounding = np.abs(along) > 1e-12
        slopes = np.where(bounding, along, 1.0)
        ends = np.stack([(low - feet) / slopes, (high - feet) / slopes])
        enter = np.where(bounding, ends.min(axis=0), -np.inf).max(axis=-1)
        leave = np.where(bounding, ends.max(axis=0), np.inf).min(axis=-1)
        return feet + enter[..., None] * along, feet + leave[..., None] * along, distances


class _Plane(Reduction):
    """The samples' bounding box, and how to evaluate the model elsewhere in the plane."""

    needs = Need.OUTPUTS

    def __init__(self) -> None:
        self.samples = 0
        self._low = torch.full((2,), math.inf, dtype=torch.float64)
        self._high = -self._low
        self._template: Batch | None = None

    def update(self, evaluation: Evaluation) -> None:
        """Take a batch in."""
        batch = evaluation.batch
        found = tensors_of(batch.inputs)
        if len(found) != 1 or not moves(batch, found[0]) or found[0][0].numel() != 2:
            shapes = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in found)
            raise NotDefined(f"boundary_length needs samples of two floating-point numbers each, got {shapes}")
        if evaluation.outputs.shape[1] < 2:
            raise NotDefined("a decision boundary needs at least two outputs, got one")
        points = found[0].reshape(-1, 2).cpu().double()
        self._low = torch.minimum(self._low, points.amin(dim=0))
        self._high = torch.maximum(self._high, points.amax(dim=0))
        self._template = batch.take(slice(0, 1))
        self.samples += batch.size

    def rectangle(self) -> _Rectangle:
        """Return the least rectangle that holds all samples."""
        (left, bottom), (right, top) = self._low.tolist(), self._high.tolist()
        if not (left < right and bottom < top):
            raise NotDefined(
                "the samples lie on one line along an axis, so that the rectangle that holds them is empty; "
                "give the option region"
            )
        return _Rectangle(left, right, bottom, top)

    def predictions(self, risk: Risk, points: np.ndarray) -> Tensor:
        """Return the class predicted at points ``[n, 2]``."""
        return torch.cat([self._predict(risk, piece) for piece in torch.from_numpy(points).split(_PIECE)])

    def _predict(self, risk: Risk, points: Tensor) -> Tensor:
        assert self._template is not None
        inputs = self._template.map(lambda t: points.to(t).reshape(-1, *t.shape[1:])).inputs
        batch = Batch(inputs, self._template.targets.expand(len(points), *self._template.targets.shape[1:]))
        with torch.no_grad():
            return risk.exact(risk.outputs(batch)).argmax(dim=1).cpu()


def _draw(
    risk: Risk, plane: _Plane, rectangle: _Rectangle, lines: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the length by the lines of one draw, and by every other point of the same lines."""
    angles = (np.arange(_DIRECTIONS) + generator.uniform()) * (math.pi / _DIRECTIONS)
    steps = np.linspace(0, 1, _STEPS * lines + 1)[:, None]
    starts, ends, distances = rectangle.chords(angles, generator.uniform(size=_DIRECTIONS), lines)
    points = starts[:, :, None] + steps * (ends - starts)[:, :, None]
    # Of all directions at once: a call of a small network takes longer than its arithmetic.
    classes = plane.predictions(risk, points.reshape(-1, 2)).numpy().reshape(points.shape[:-1])
    whole, coarse = (
        float(distances @ np.count_nonzero(np.diff(classes[..., ::every]), axis=(1, 2))) for every in (1, 2)
    )
    return whole * math.pi / 2 / _DIRECTIONS, coarse * math.pi / 2 / _DIRECTIONS
