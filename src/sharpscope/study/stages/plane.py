"""What a network has learned at each point of the plane, so that a report can draw it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sharpscope.data import Dataset
from sharpscope.spec import Run
from sharpscope.store.record import PLANE
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import Stamp
from sharpscope.study.work.requested import RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import Work
from sharpscope.training import predict

# Points on each side of the grid, from edge to edge.
SIDE = 101
# Training points that are kept beside it.
_POINTS = 500
# How far a picture reaches beyond the points of data that name no region, as a share of their extent.
_MARGIN = 0.08


@STAGES.register(PLANE)
class PlaneStage(Stage):
    """Predictions on a grid of the plane, at the end of the training; 20 to 80 kB a run."""

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return the grid at the end, where inputs are points in the plane."""
        return super().wanted(requested, snapshot) if snapshot == END and requested.pictured else {}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return none: these are no numbers of a ledger."""
        return []

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Return what the network says on the grid, and what it was given.

        Arrays of a picture have a row for each y, from below, and a column for each x:

        - of a classifier ``class`` and ``confidence``, the latter in 255ths, and ``points`` with their ``labels``;
        - of a regression ``fit``, and ``target`` where it is known.
        """
        dataset = work.dataset
        left, right, bottom, top = region = _region(dataset)
        x, y = torch.linspace(left, right, SIDE), torch.linspace(bottom, top, SIDE)
        points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
        outputs = predict(work.model(snapshot), points, dataset.normalize, device=work.device)
        drawn = _classes(outputs, dataset) if dataset.task.classes else _numbers(outputs, points, dataset)
        return {self.name: StageResult(arrays={"region": np.array(region, dtype=np.float32), **drawn})}

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of a forward pass over the grid."""
        return timing.forward(run) * SIDE**2 * len(left)


def _region(dataset: Dataset) -> tuple[float, float, float, float]:
    """Return the rectangle to draw: that of the data, or one around all points."""
    if dataset.region is not None:
        return dataset.region
    points = torch.cat([dataset.train_inputs, dataset.test_inputs]).double()
    low, high = points.amin(dim=0), points.amax(dim=0)
    # Points on a line have a picture too.
    room = _MARGIN * torch.where(high > low, high - low, (high - low).max().clamp(min=1.0))
    (left, bottom), (right, top) = (low - room).tolist(), (high + room).tolist()
    return left, right, bottom, top


def _classes(outputs: Tensor, dataset: Dataset) -> dict[str, np.ndarray]:
    confidence, predicted = outputs.double().softmax(dim=1).max(dim=1)
    labels = dataset.train_targets[:_POINTS].to(torch.int16)
    return {
        "class": predicted.to(torch.int16).view(SIDE, SIDE).numpy(),
        "confidence": (255 * confidence).round().to(torch.uint8).view(SIDE, SIDE).numpy(),
        "points": dataset.train_inputs[:_POINTS].to(torch.float32).numpy(),
        "labels": labels.numpy(),
    }


def _numbers(outputs: Tensor, points: Tensor, dataset: Dataset) -> dict[str, np.ndarray]:
    fit = {"fit": outputs.to(torch.float32).view(SIDE, SIDE).numpy()}
    return fit if dataset.truth is None else {**fit, "target": dataset.truth(points).view(SIDE, SIDE).numpy()}
