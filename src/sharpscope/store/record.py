"""What ``run.json`` says of a run, and what of it still answers the study that is asked now."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter

from sharpscope.errors import SharpscopeError
from sharpscope.store.documents import content_of, document, encode, numeric
from sharpscope.store.levels import column
from sharpscope.store.wishes import Wishes

SCHEMA = 3
BEFORE_SEALS = 2  # the schema of files that were written before there were seals
FINAL = ("done", "diverged")
PREDICTIONS = "predictions.safetensors"
UNDER_CONDITIONS = "conditions.safetensors"  # apart, since it is the larger and few look at it
PREDICTED = (PREDICTIONS, UNDER_CONDITIONS)  # the files of a run that its training does not write
NOT_YET = "not computed yet; the next run does it"


@dataclass
class Record:
    """The content of ``run.json``.

    Attributes:
        run_id: The run.
        state: ``done``, ``failed`` or ``diverged``.
        reason: Why, in one line; of a run that is done, why something was not added to it.
        spec: The run as the study describes it.
        coordinates: Regime, seed and the varying keys, as they stand in the ledger.
        data: The checksum of the dataset that it was made from.
        training: Loss and accuracy on both clean splits.
        measures: Key to stamp, value, standard error, samples, convergence and details.
        scores: Key to stamp and value.
        errors: Why a measure or score could not be had, by its column; it is tried again by the next run.
        at_loss: What was found at each train loss that was to be matched, by its name: epoch, step and loss of its
            first crossing (no epoch: it was never reached), to how many steps that was looked for, ``training`` and
            ``measures`` there.
        predictions: What the stored predictions were made from.
        files: Size and checksum of each file beside this one.
        init: Where the initial weights are, from the folder of the study.
        provenance: Versions and the like of each process that made something of this run, by a name of its own.
        made_by: The name of the one that made the weights and the predictions; estimates and scores have theirs.
        timings: Seconds of each stage; of no influence on anything.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    run_id: str
    state: Literal["done", "failed", "diverged"] = "failed"
    reason: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    coordinates: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    training: dict[str, float] = field(default_factory=dict)
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    at_loss: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    init: str = ""
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the text of ``run.json``, sealed."""
        return document({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_json(cls, data: bytes, run_id: str) -> Record:
        """Read what ``to_json`` wrote.

        Raises:
            SharpscopeError: "is damaged" or the like, if it is torn, of another run, or of another schema.
        """
        return cls._from_content(content_of(data), run_id, SCHEMA)

    @classmethod
    def before_seals(cls, data: bytes, run_id: str) -> Record:
        """Read a record of the time before seals, on trust as it was then.

        Raises:
            SharpscopeError: As ``from_json``.
        """
        try:
            return cls._from_content(json.loads(data), run_id, BEFORE_SEALS)
        except (ValueError, RecursionError):
            raise SharpscopeError("is damaged") from None

    @classmethod
    def _from_content(cls, content: Any, run_id: str, schema: int) -> Record:
        try:
            content = {**content}
            written, found = content.pop("schema"), content["run_id"]
            if written == schema and found == run_id:
                numbers = {key: numeric(content[key]) for key in ("training", "measures", "scores", "at_loss")}
                record = _RECORD.validate_python({**content, **numbers})
                record.check_entries()
                return record
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise SharpscopeError("is damaged") from None
        raise SharpscopeError(f"has schema {written} and run {found}, not schema {schema} and run {run_id}")

    def of_training(self) -> Record:
        """Return what the training alone left: it vouches for the weights where ``run.json`` is not there."""
        weights_alone: dict[str, Any] = {"training": {}, "measures": {}}
        makers = {key: maker for key, maker in self.made_by.items() if key == "training"}
        return Record(
            self.run_id,
            data=self.data,
            at_loss={level: {**point, **weights_alone} for level, point in self.at_loss.items()},
            files={name: seal for name, seal in self.files.items() if name not in PREDICTED},
            init=self.init,
            provenance={name: facts for name, facts in self.provenance.items() if name in makers.values()},
            made_by=makers,
            timings={key: seconds for key, seconds in self.timings.items() if key == "training"},
        )

    def missing(self, wishes: Wishes) -> list[str]:
        """Return what is wanted and not in here, as words; nothing is missing of a run that diverged."""
        if self.state == "diverged":
            return []
        keys = [k for k, w in wishes.measures.items() if not w.answered_by(self.measures.get(k), "measure")]
        keys += [k for k, w in wishes.scores.items() if not w.answered_by(self.scores.get(k), "score")]
        if not self.predicted(wishes):
            keys.append("predictions")
        return keys + [column(key, level) for level in wishes.levels for key in self.missing_at(level, wishes)]

    def check_entries(self) -> None:
        """See that estimates, scores and points have what is read of them.

        Raises:
            KeyError: If one has not.
            TypeError: If a number is not one.
        """
        points = self.at_loss.values()
        for entry in (*self.measures.values(), *(e for point in points for e in point["measures"].values())):
            math.isnan(entry["value"] + entry["stderr"])
            if entry["converged"] not in (True, False):
                raise TypeError
        for entry in self.scores.values():
            math.isnan(entry["value"])
        for point in points:
            math.isnan(sum([point["epoch"] or 0, point["step"] or 0, *point["training"].values()]))
        for seal in self.files.values():
            int(seal["bytes"]), str(seal["blake2b"])
        dict(self.predictions.get("conditions", {}))

    def predicted(self, wishes: Wishes) -> bool:
        """Return whether the stored predictions hold all that is wanted of them; they may hold more."""
        return bool(self.training) and wishes.conditions.items() <= self.predictions.get("conditions", {}).items()

    def note_maker(self, facts: Mapping[str, Any]) -> str:
        """Note what makes something of this run, and return its name: the same for the same facts."""
        name = hashlib.blake2b(encode(facts), digest_size=4).hexdigest()
        self.provenance[name] = dict(facts)
        return name

    def forget_makers(self) -> None:
        """Leave out the processes of which nothing is left."""
        entries = [*self.measures.values(), *self.scores.values()]
        entries += [estimate for point in self.at_loss.values() for estimate in point["measures"].values()]
        used = {*self.made_by.values(), *(entry.get("made_by") for entry in entries)}
        self.provenance = {name: facts for name, facts in self.provenance.items() if name in used}

    def fail(self, reason: str) -> None:
        """Note that work on this run broke off; one that is done stays done, and lacks what was to be added."""
        self.state, self.reason = "done" if self.state == "done" else "failed", reason

    def lacking(self, wishes: Wishes) -> dict[str, str]:
        """Return why what is missing of a run that is done is not there, by what it is."""
        if self.state != "done":
            return {}
        return {key: self.errors.get(key) or self.reason or NOT_YET for key in self.missing(wishes)}

    def point_at(self, level: str, check_loss_every: int | None) -> dict[str, Any] | None:
        """Return what was found at a train loss, if that was matched as closely as is wanted."""
        point = self.at_loss.get(level)
        return point if point is not None and point.get("check_loss_every") == check_loss_every else None

    def missing_at(self, level: str, wishes: Wishes) -> list[str]:
        """Return what is wanted at a train loss and not in here; nothing where that loss was never reached."""
        point = self.point_at(level, wishes.check_loss_every)
        if point is None:
            return ["weights"]
        if point["epoch"] is None:
            return []
        keys = [k for k, w in wishes.measures.items() if not w.answered_by(point["measures"].get(k), "measure")]
        return keys if point["training"] else ["predictions", *keys]

    def settled(self, wishes: Wishes) -> bool:
        """Return whether nothing is left to do for this run."""
        return self.state in FINAL and not self.missing(wishes)


_RECORD = TypeAdapter(Record)
