"""Which runs of a study are trained together."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import nn

from sharpscope.data import Dataset
from sharpscope.training import Recipe
from sharpscope.training.packs import NotPacked, enough_company, pack_key, pack_size

# Run ids, in the order in which one process does them.
Job = tuple[str, ...]


@dataclass(frozen=True)
class Packing:
    """Whether a run can be trained together with others.

    Attributes:
        key: Equal for runs that can be in one pack; empty for one that is trained alone.
        size: Runs of a pack, at most.
        enough: Runs of a pack from which two packs of so many are better than one: two processes gain more.
        reason: Why it is trained alone: completes "packs take none with ...".
    """

    key: str = ""
    size: int = 1
    enough: int = 1
    reason: str = ""

    @classmethod
    def of(cls, model: nn.Module, recipe: Recipe, dataset: Dataset) -> Packing:
        """Return it for a run.

        Args:
            model: Like that of the run.
            recipe: How it is trained.
            dataset: On what.
        """
        samples = len(dataset.train_inputs)
        try:
            key, size = pack_key(model, recipe, dataset), pack_size(model, recipe, samples)
            return cls(key, size, enough_company(recipe, samples))
        except NotPacked as reason:
            return cls(reason=str(reason))


def packed(jobs: Iterable[Job], packings: Mapping[str, Packing]) -> tuple[list[Job], dict[str, str]]:
    """Join jobs whose runs can be trained together.

    Jobs are joined as they are, so that a run that others need still comes before them. What is joined depends on the
    study alone, not on what is done of it already.

    Args:
        jobs: In their order.
        packings: Of each run.

    Returns:
        Jobs, and the name of the pack of each run that is in one.
    """
    of_kind: dict[tuple[str, ...], list[int]] = {}
    ordered = list(jobs)
    for place, job in enumerate(ordered):
        kind = tuple(sorted({packings[run_id].key for run_id in job}))
        # One that is trained alone is of a kind of its own.
        of_kind.setdefault((*kind, str(place)) if "" in kind else kind, []).append(place)
    shares = [share for places in of_kind.values() for share in _shares(places, ordered, packings)]
    joined = [tuple(run_id for place in share for run_id in ordered[place]) for share in sorted(shares)]
    return joined, {run_id: name for job in joined for run_id, name in _names(job, packings)}


def _shares(places: Sequence[int], jobs: Sequence[Job], packings: Mapping[str, Packing]) -> list[tuple[int, ...]]:
    """Divide jobs of one kind, by their places, into packs that are about as large, so that processes end together."""
    starts = [0, *accumulate(len(jobs[place]) for place in places)]
    total = starts[-1]
    together = [run_id for place in places for run_id in jobs[place]]
    number = _fullness(together, packings)
    if number % 2 and total >= (number + 1) * max(packings[run_id].enough for run_id in together):
        number += 1
    while True:
        shares: dict[int, list[int]] = {}
        for place, start in zip(places, starts, strict=False):
            shares.setdefault(start * number // total, []).append(place)
        runs = ([run_id for place in share for run_id in jobs[place]] for share in shares.values())
        # Jobs are not divided: they may not fit evenly into so few packs, or be larger than a pack.
        if number >= len(places) or all(_fullness(some, packings) == 1 for some in runs):
            return [tuple(share) for share in shares.values()]
        number += 1


def _fullness(runs: Iterable[str], packings: Mapping[str, Packing]) -> int:
    """Return how many packs runs need at least, by what a pack has room for of each kind."""
    count = Counter(packings[run_id] for run_id in runs)
    return max(math.ceil(number / packing.size) for packing, number in count.items())


def _names(job: Sequence[str], packings: Mapping[str, Packing]) -> Iterable[tuple[str, str]]:
    by_key: dict[str, list[str]] = {}
    for run_id in job:
        by_key.setdefault(packings[run_id].key, []).append(run_id)
    for key, members in by_key.items():
        if key:
            name = hashlib.blake2b(" ".join(members).encode(), digest_size=6).hexdigest()
            yield from ((run_id, name) for run_id in members)
