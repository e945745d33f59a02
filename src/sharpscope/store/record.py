"""What ``run.json`` says of a run, and what of it still answers the study that is asked now."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter

from sharpscope.errors import SharpscopeError
from sharpscope.store.documents import content_of, document, encode, numeric
from sharpscope.store.snapshots import base_of, column, twin_of
from sharpscope.store.upgrade import BEFORE_SEALS, SCHEMA, upgraded_record
from sharpscope.store.wanted import Stages, Stamp, Wanted, answers, narrowed

FINAL = ("done", "diverged")
TRAINING = "training"  # the stage that all others need: of its files none is missed before something asks for it
MEASURES = "measures"  # the stage that a report takes spectra from
RELIABILITY = "reliability"  # the stage that a report takes reliability diagrams from
BY_CONDITION = "by_condition"  # the stage that a report takes accuracies under conditions from
PLANE = "plane"  # the stage that a report takes pictures of functions of the plane from
BY_SAMPLE = "by_sample"  # the stage that a report takes what each test sample adds to scores from
TEMPERATURE = "temperature"  # the stage that tells whether there is a twin
TRAJECTORY = "trajectory"  # the stage that a report takes from what was measured along trainings
WEIGHTS_KEY, HISTORY_KEY, WATCHED_KEY = "weights", "history", "watched"
NOT_YET = "not computed yet; the next run does it"

Entry = dict[str, Any]


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
        snapshots: What was found, by snapshot, stage and key. Each result has its stamp, see ``wanted``, its numbers,
            the ``files`` beside this one that belong to it, and by which process it was ``made_by``. The results of
            ``training`` are the weights; where they say ``reached: false`` the training did not come to that moment.
            A training that diverged has left its ``history`` in their place.
        errors: Why a result could not be had, by its column; it is tried again by the next run.
        files: Size and checksum of each file beside this one.
        init: Where the initial weights are, from the folder of the study.
        provenance: Versions and the like of each process that made something of this run, by a name of its own.
        timings: Seconds of each stage; of no influence on anything.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    run_id: str
    state: Literal["done", "failed", "diverged"] = "failed"
    reason: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    coordinates: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    snapshots: dict[str, dict[str, dict[str, Entry]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    init: str = ""
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the text of ``run.json``, sealed."""
        return document({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_json(cls, data: bytes, run_id: str) -> Record:
        """Read what ``to_json`` wrote, now or in the time of a former schema.

        Raises:
            SharpscopeError: "is damaged" or the like, if it is torn, of another run, or of another schema.
        """
        return cls._from_content(content_of(data), run_id)

    @classmethod
    def before_seals(cls, data: bytes, run_id: str) -> Record:
        """Read a record of the time before seals, on trust as it was then.

        Raises:
            SharpscopeError: As ``from_json``.
        """
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            raise SharpscopeError("is damaged") from None
        return cls._from_content(content, run_id, sealed=False)

    @classmethod
    def _from_content(cls, content: Any, run_id: str, *, sealed: bool = True) -> Record:
        try:
            written, found = content["schema"], content["run_id"]
            if found == run_id and (written == BEFORE_SEALS) != sealed:
                content = upgraded_record(content)
                if content.pop("schema") == SCHEMA:
                    record = _RECORD.validate_python({**content, "snapshots": _with_numbers(content["snapshots"])})
                    record.check_entries()
                    return record
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise SharpscopeError("is damaged") from None
        raise SharpscopeError(f"has schema {written} and run {found}, not schema {SCHEMA} and run {run_id}")

    def at(self, snapshot: str, stage: str) -> dict[str, Entry]:
        """Return what a stage found at a snapshot, by key."""
        return self.snapshots.get(snapshot, {}).get(stage, {})

    def keep(self, snapshot: str, stage: str, key: str, entry: Entry) -> None:
        """Take in a result."""
        self.snapshots.setdefault(snapshot, {}).setdefault(stage, {})[key] = entry

    def of_training(self) -> Record:
        """Return what the training alone left: it vouches for the weights where ``run.json`` is not there."""
        found = Record(
            self.run_id,
            data=self.data,
            snapshots={
                name: {TRAINING: stages[TRAINING]} for name, stages in self.snapshots.items() if TRAINING in stages
            },
            files=dict(self.files),
            init=self.init,
            provenance=dict(self.provenance),
            timings={key: seconds for key, seconds in self.timings.items() if key == TRAINING},
        )
        found.forget_unused()
        return found

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield every result with the stage that found it."""
        for stages in self.snapshots.values():
            for stage, entries in stages.items():
                for entry in entries.values():
                    yield stage, entry

    def check_entries(self) -> None:
        """See that results have what is read of them.

        Raises:
            KeyError: If one has not.
            TypeError: If a number is not one.
        """
        for _, entry in self.entries():
            numbers = [entry.get(name, 0.0) for name in ("value", "stderr")]
            numbers += [entry.get(name) or 0 for name in ("epoch", "step")]
            math.isnan(sum([*numbers, *entry.get("values", {}).values()]))
            if entry.get("converged", True) not in (True, False) or entry.get("reached", True) not in (True, False):
                raise TypeError
            dict(entry.get("conditions", {}))
            if not all(isinstance(name, str) for name in [*entry.get("files", []), entry.get("made_by", "")]):
                raise TypeError
        for seal in self.files.values():
            int(seal["bytes"]), str(seal["blake2b"])

    def left(self, wanted: Wanted) -> dict[str, Stages]:
        """Return what is wanted and not in here, by snapshot, stage and key; the state of the run is not looked at.

        Nothing is left where the training did not come to a moment. Where the weights themselves are left, so is all
        that is wanted of them.
        """
        left = {
            snapshot: {stage: self.left_at(snapshot, stage, wanted) for stage in stages}
            for snapshot, stages in wanted.snapshots.items()
        }
        some = {snapshot: {stage: keys for stage, keys in stages.items() if keys} for snapshot, stages in left.items()}
        return {snapshot: stages for snapshot, stages in some.items() if stages}

    def left_at(self, snapshot: str, stage: str, wanted: Wanted) -> dict[str, Stamp]:
        """Return what is left of a stage at a snapshot, by key; see ``left``."""
        stamps = wanted.at(snapshot, stage)
        if self.never_came_to(snapshot, wanted):
            return {}
        if not self._has_weights(snapshot, wanted):
            return dict(stamps)
        kept = {key: self._kept(snapshot, stage, key) for key in stamps}
        return {key: narrowed(stamp, kept[key]) for key, stamp in stamps.items() if not answers(kept[key], stamp)}

    def missing(self, wanted: Wanted) -> list[str]:
        """Return what is left of a run, each as its column; nothing is of one that diverged."""
        if self.state == "diverged":
            return []
        found = []
        for snapshot, stages in self.left(wanted).items():
            told = {TRAINING: stages[TRAINING]} if TRAINING in stages else stages
            found += [column(key, snapshot) for keys in told.values() for key in keys]
        return found

    def lacking(self, wanted: Wanted) -> dict[str, str]:
        """Return why what is missing of a run that is done is not there, by what it is."""
        if self.state != "done":
            return {}
        return {key: self.errors.get(key) or self.reason or NOT_YET for key in self.missing(wanted)}

    def settled(self, wanted: Wanted) -> bool:
        """Return whether nothing is left to do for this run."""
        return self.state in FINAL and not self.missing(wanted)

    def came_to(self, snapshot: str, wanted: Wanted) -> bool:
        """Return whether the training came to a moment, which was looked for as is wanted now; and there is a twin."""
        found = [self._moment(*place, wanted) for place in _moments(snapshot)]
        return all(entry is not None and entry.get("reached", True) for entry in found)

    def never_came_to(self, snapshot: str, wanted: Wanted) -> bool:
        """Return whether it is known that the training did not come to a moment, or that there is no such twin."""
        found = [self._moment(*place, wanted) for place in _moments(snapshot)]
        return any(entry is not None and not entry.get("reached", True) for entry in found)

    def _moment(self, snapshot: str, stage: str, key: str, wanted: Wanted) -> Entry | None:
        """Return what a stage says of whether there is a snapshot, if that is what is wanted now."""
        entry = self.at(snapshot, stage).get(key)
        return entry if answers(entry, wanted.at(snapshot, stage).get(key, {})) else None

    def tells_of_temperature(self, snapshot: str, stage: str, wanted: Wanted) -> bool:
        """Return whether a result is the temperature of a twin that there may not be: it tells why."""
        return stage == TEMPERATURE and self.came_to(base_of(snapshot), wanted)

    def _has_weights(self, snapshot: str, wanted: Wanted) -> bool:
        return all(
            self._answers(at, stage, key, stamp)
            for at, stage, _ in _moments(snapshot)
            for key, stamp in wanted.at(at, stage).items()
        )

    def forget(self, snapshot: str) -> None:
        """Let go of all that was found at a snapshot, and at its twins."""
        self.snapshots = {name: found for name, found in self.snapshots.items() if base_of(name) != snapshot}

    def _answers(self, snapshot: str, stage: str, key: str, stamp: Stamp) -> bool:
        return answers(self._kept(snapshot, stage, key), stamp)

    def _kept(self, snapshot: str, stage: str, key: str) -> Entry | None:
        """Return a result, unless a file of it has lost its seal by being damaged."""
        entry = self.at(snapshot, stage).get(key)
        return entry if entry is not None and set(entry.get("files", ())) <= self.files.keys() else None

    def needed_files(self) -> set[str]:
        """Return the files that must be there; those of the training may have been deleted to save space."""
        return {name for stage, entry in self.entries() if stage != TRAINING for name in entry.get("files", ())}

    def note_maker(self, facts: Mapping[str, Any]) -> str:
        """Note what makes something of this run, and return its name: the same for the same facts."""
        # Every result asks; the name is made once.
        for name, known in self.provenance.items():
            if known == facts:
                return name
        name = hashlib.blake2b(encode(facts), digest_size=4).hexdigest()
        self.provenance[name] = dict(facts)
        return name

    def forget_unused(self) -> None:
        """Leave out the processes of which nothing is left, and the seals of files that belong to no result."""
        entries = [entry for _, entry in self.entries()]
        makers = {entry.get("made_by") for entry in entries}
        self.provenance = {name: facts for name, facts in self.provenance.items() if name in makers}
        files = {name for entry in entries for name in entry.get("files", ())}
        self.files = {name: seal for name, seal in self.files.items() if name in files}

    def fail(self, reason: str) -> None:
        """Note that work on this run broke off; one that is done stays done, and lacks what was to be added."""
        self.state, self.reason = "done" if self.state == "done" else "failed", reason


def _moments(snapshot: str) -> list[tuple[str, str, str]]:
    """Return the snapshot, stage and key of what tells whether there is a snapshot; of a twin also of what it is of."""
    trained = (base_of(snapshot), TRAINING, WEIGHTS_KEY)
    return [trained, (snapshot, TEMPERATURE, TEMPERATURE)] if twin_of(snapshot) else [trained]


def _with_numbers(snapshots: Any) -> Any:
    """Return results with the floats that JSON has no number for; stamps keep their text."""
    return {
        snapshot: {stage: {key: _numeric(entry) for key, entry in entries.items()} for stage, entries in stages.items()}
        for snapshot, stages in snapshots.items()
    }


def _numeric(entry: Mapping[str, Any]) -> Entry:
    return {part: value if part == "options" else numeric(value) for part, value in entry.items()}


_RECORD = TypeAdapter(Record)
