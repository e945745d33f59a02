"""What is wanted of each run, and whether a stored value is what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sharpscope.store.documents import plain


@dataclass(frozen=True)
class Wish:
    """A measure or score that is wanted, with all that determines its value beside the weights.

    Attributes:
        name: Its name in the registry; the key it is wanted under is another thing.
        options: All of its options.
        version: The version of its definition.
        subset: How many training samples a measure is taken on at most; None for all, and of a score.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    subset: int | None = None

    @classmethod
    def of(cls, stamp: Mapping[str, Any], kind: str) -> Wish:
        """Return the wish that ``stamp`` was made of."""
        return cls(stamp[kind], stamp["options"], stamp["version"], stamp.get("subset"))

    def stamp(self, kind: str) -> dict[str, Any]:
        """Return what stands beside a value so that a later study can tell whether the value answers it."""
        subset = {} if self.subset is None else {"subset": self.subset}
        return {kind: self.name, "options": plain(self.options), "version": self.version, **subset}

    def answered_by(self, stored: Mapping[str, Any] | None, kind: str) -> bool:
        """Return whether a stored value is what this wish would compute."""
        if stored is None or stored.get("subset") != self.subset:
            return False
        return {**stored, **self.stamp(kind)} == stored


@dataclass(frozen=True)
class Wishes:
    """All that is wanted of each run, by the keys of the ledger.

    Attributes:
        measures: Of the minimum.
        scores: Of the predictions of one run.
        pair_scores: Of the predictions of two runs.
        conditions: The conditions under which the scores read predictions, with the versions of their definitions.
        levels: Names of the train losses at which all measures are wanted too, with the losses; see ``levels``.
        check_loss_every: Steps to which these are matched; None for the end of an epoch.
    """

    measures: dict[str, Wish] = field(default_factory=dict)
    scores: dict[str, Wish] = field(default_factory=dict)
    pair_scores: dict[str, Wish] = field(default_factory=dict)
    conditions: dict[str, int] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    check_loss_every: int | None = None

    def to_catalog(self) -> dict[str, Any]:
        """Return the wishes as they stand in ``catalog.json``."""

        def stamps(kind: str, wishes: Mapping[str, Wish]) -> dict[str, dict[str, Any]]:
            return {key: wanted.stamp(kind) for key, wanted in wishes.items()}

        return {
            "measures": stamps("measure", self.measures),
            "scores": stamps("score", self.scores),
            "pair_scores": stamps("score", self.pair_scores),
            "conditions": dict(self.conditions),
            "levels": dict(self.levels),
            "check_loss_every": self.check_loss_every,
        }

    @classmethod
    def from_catalog(cls, catalog: Mapping[str, Any]) -> Wishes:
        """Return the wishes that ``to_catalog`` took apart."""

        def of(kind: str, stamps: Mapping[str, Any]) -> dict[str, Wish]:
            return {key: Wish.of(stamp, kind) for key, stamp in stamps.items()}

        return cls(
            measures=of("measure", catalog["measures"]),
            scores=of("score", catalog["scores"]),
            pair_scores=of("score", catalog["pair_scores"]),
            # Catalogs from before there were conditions other than corruptions have none.
            conditions=catalog.get("conditions", {}),
            levels=catalog["levels"],
            check_loss_every=catalog["check_loss_every"],
        )
