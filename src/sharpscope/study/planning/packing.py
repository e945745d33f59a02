"""Which runs of a study are trained together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from sharpscope.data import Dataset
from sharpscope.training import Recipe
from sharpscope.training.packs import NotPacked, pack_key, pack_size

# Run ids, in the order in which one process does them.
Job = tuple[str, ...]


@dataclass(frozen=True)
class Packing:
    """Whether a run can be trained together with others.

    Attributes:
        key: Equal for runs that can be in one pack; empty for one that is trained alone.
        size: Runs of a pack, at most.
        reason: Why it is trained alone: completes "packs take none with ...".
    """

    key: str = ""
    size: int = 1
    reason: str = ""

    @classmethod
    def of(cls, model: nn.Module, recipe: Recipe, dataset: Dataset) -> Packing:
        """Return it for a run.

        Args:
            model: Like that of the run.
            recipe: How it is trained.
            dataset: On what.
        """
        try:
            return cls(pack_key(model, recipe, dataset), pack_size(model, recipe, len(dataset.train_inputs)))
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
    joined: list[list[str]] = []
    # By what their runs can be trained with, the last job of that kind, if it has room.
    open_jobs: dict[tuple[str, ...], list[str]] = {}
    for job in jobs:
        kind = tuple(sorted({packings[run_id].key for run_id in job}))
        found = open_jobs.get(kind)
        if "" in kind or found is None or not _has_room([*found, *job], packings):
            found = open_jobs[kind] = []
            joined.append(found)
        found.extend(job)
    return [tuple(job) for job in joined], {run_id: name for job in joined for run_id, name in _names(job, packings)}


def _has_room(job: Sequence[str], packings: Mapping[str, Packing]) -> bool:
    """Return whether runs are no more than a pack has of each kind."""
    keys = [packings[run_id].key for run_id in job]
    return all(keys.count(packings[run_id].key) <= packings[run_id].size for run_id in job)


def _names(job: Sequence[str], packings: Mapping[str, Packing]) -> Iterable[tuple[str, str]]:
    by_key: dict[str, list[str]] = {}
    for run_id in job:
        by_key.setdefault(packings[run_id].key, []).append(run_id)
    for key, members in by_key.items():
        if key:
            name = hashlib.blake2b(" ".join(members).encode(), digest_size=6).hexdigest()
            yield from ((run_id, name) for run_id in members)
