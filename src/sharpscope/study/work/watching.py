"""After which steps of its training a run is looked at."""

from __future__ import annotations

from sharpscope.spec import steps_within
from sharpscope.store.record import TRAINING, WATCHED_KEY
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import Wanted
from sharpscope.training import Recipe
from sharpscope.training.minibatches import steps_of


def watched_steps(wanted: Wanted, recipe: Recipe, samples: int) -> tuple[int, ...]:
    """Return after which steps of a training on so many samples the weights are wanted; none without a watch."""
    moments = wanted.at(END, TRAINING).get(WATCHED_KEY)
    return () if moments is None else tuple(steps_within(moments, steps_of(samples, recipe)))
