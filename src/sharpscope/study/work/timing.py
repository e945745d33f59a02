"""Times parts of a run on this machine, each kind once, so that the whole of a study can be foretold."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from torch import nn

from sharpscope.data import Dataset
from sharpscope.models import build_untrained
from sharpscope.seeding import Stream
from sharpscope.spec import Run
from sharpscope.training import predict

if TYPE_CHECKING:
    from sharpscope.study.planning.plan import Plan

T = TypeVar("T")

# What is timed: enough to be told from noise, little enough to answer at once. A few samples first, then twice as many
# as long as that takes less than a moment.
FIRST = 8
SAMPLES = 256
MOMENT = 0.3


@dataclass
class Timing:
    """What stages ask when they say what they cost.

    Attributes:
        plan: The study.
        device: Where its runs compute.
    """

    plan: Plan
    device: str
    _known: dict[str, float] = field(default_factory=dict)
    _weights: dict[str, int] = field(default_factory=dict)

    def once(self, kind: str, find: Callable[[], float]) -> float:
        """Return what was timed, or counted, for this kind before, or else find it: a grid has many runs of a kind."""
        if kind not in self._known:
            self._known[kind] = find()
        return self._known[kind]

    def dataset(self, run: Run) -> Dataset:
        """Return the data of a run."""
        return self.plan.dataset_of(run)

    def company(self, run: Run) -> int:
        """Return how many runs are trained together with a run, itself among them; 0 if it is trained alone."""
        packs = self.plan.packs
        return Counter(packs.values())[packs[run.id]] if run.id in packs else 0

    def model(self, run: Run) -> nn.Module:
        """Return an untrained model of a run, on the device."""
        return self._untrained(run).to(self.device)

    def weights(self, run: Run) -> int:
        """Return the bytes of the weights of a run."""
        kind = _kind(run)
        if kind not in self._weights:
            self._weights[kind] = sum(tensor.nbytes for tensor in self._untrained(run).state_dict().values())
        return self._weights[kind]

    def forward(self, run: Run) -> float:
        """Return the seconds of a forward pass, by sample."""
        return self.once(f"forward {_kind(run)}", lambda: self._forward(run))

    def extrapolated(self, action: Callable[[int], object], samples: int, most: int) -> float:
        """Return the seconds that an action would take on so many samples, from those on a few.

        Args:
            action: Is given a number of samples.
            samples: What to reckon for.
            most: No more than these are tried.
        """
        size = min(FIRST, samples, most)
        seconds = _timed(lambda: action(size))
        while seconds < MOMENT and size < min(samples, most):
            # The first times hold what PyTorch does but once, so that the last one alone is to be believed.
            size = min(2 * size, samples, most)
            seconds = _timed(lambda size=size: action(size))  # type: ignore[misc]
        if size == min(samples, most):
            return seconds / size * samples
        # Where it took long at once, that may be what it takes for any number of samples.
        larger = min(2 * size, samples, most)
        longer = _timed(lambda: action(larger))
        by_sample = min(max(longer - seconds, 0.0) / (larger - size), longer / larger)
        return longer + by_sample * (samples - larger)

    def _forward(self, run: Run) -> float:
        model, dataset = self.model(run), self.dataset(run)

        def forward(samples: int) -> None:
            predict(model, dataset.train_inputs[:samples], dataset.normalize, device=self.device)

        return self.extrapolated(forward, len(dataset.train_inputs), SAMPLES) / len(dataset.train_inputs)

    def _untrained(self, run: Run) -> nn.Module:
        dataset = self.dataset(run)
        shape, outputs = dataset.input_shape, dataset.outputs
        return build_untrained(run.model.name, shape, outputs, Stream("forecast"), **run.model.options)


def first_of(dataset: Dataset, samples: int) -> Dataset:
    """Return a dataset with its first training samples."""
    return replace(dataset, train_inputs=dataset.train_inputs[:samples], train_targets=dataset.train_targets[:samples])


def _kind(run: Run) -> str:
    """Return text that is equal for runs of one model on one dataset."""
    return run.model.model_dump_json() + run.data.model_dump_json()


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
