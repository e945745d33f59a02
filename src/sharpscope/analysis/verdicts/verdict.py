"""What a study says of a claim and of each of its predictions, whatever their kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sharpscope.spec import Claim

HOLDS = "holds"
UNCONTROLLED = "holds at the end of training"
ONLY_AT_END = "holds only at the end of training"
CONTRADICTED = "is contradicted"
CONTRADICTED_AT_END = "is contradicted only at the end of training"
CANNOT_TELL = "cannot be told here"
IN_PART = "holds in part"
CONTRADICTED_IN_PART = "is contradicted in part"
UNCONTROLLED_IN_PART = "holds in part at the end of training"
ONLY_AT_END_IN_PART = "holds in part, and only at the end of training"
_IN_PART = {UNCONTROLLED: UNCONTROLLED_IN_PART, ONLY_AT_END: ONLY_AT_END_IN_PART}

END, LOSS, CONFIDENCE = "end", "loss", "confidence"
CONDITIONS = {END: "the end of training", LOSS: "equal train loss", CONFIDENCE: "equal confidence"}

MOST_SEEDS = 200


@dataclass(frozen=True)
class Finding:
    """What a study says of one prediction under one condition.

    Attributes:
        scale: "ratio" or "difference" of a contrast; "correlation" of a relation; "share" of a rivalry; "ratio" or
            "size" of a distinction.
        value: A factor, a difference, a rank correlation, a difference of explained shares, or how far two levels
            typically lie apart, which has no direction.
        low: Lower end of its 95% interval.
        high: Upper end.
        n: How many seeds it is of.
        favor: +1 where it is significant as predicted, -1 where it is so against it, 0 otherwise.
        at: The matched train loss, where one is the condition.
        can: Whether so many seeds could tell at all, whatever they showed.
    """

    scale: str
    value: float
    low: float
    high: float
    n: int
    favor: int
    at: str = ""
    can: bool = True


@dataclass(frozen=True)
class TestedPrediction:
    """One prediction of a claim: of one quantity, and of one level, outcome or set of rivals.

    Attributes:
        kind: The kind of the prediction.
        quantity: The column; of a rivalry, what is to be explained.
        other: The level or levels, the outcome, or the rivals.
        told: What is predicted of the quantity, in words: "sam, sharper than baseline".
        reference: What the level is compared with; empty where there is none.
        predicted: The direction that the claim predicts, in words.
        found: What the study says, by condition; a condition that it cannot make is not there.
        controls: The conditions under which the prediction must hold, beside the end of training.
        seeds: About how many seeds it takes to see a difference like this one, where the study cannot tell; None where
            it can or nothing is known of it, and infinite where more than ``MOST_SEEDS`` would be needed.
        note: What else is to be known of it, in sentences: how levels stand, and what does not count.
        stated: The condition under which it is stated, and judged.
    """

    kind: str
    quantity: str
    other: str
    told: str
    reference: str
    predicted: str
    found: dict[str, Finding]
    controls: tuple[str, ...] = ()
    seeds: float | None = None
    note: str = ""
    stated: str = END

    @property
    def favor(self) -> int:
        """What was found where it is stated, as ``Finding`` has it; 0 where the study has nothing of it there."""
        return self.found[self.stated].favor if self.stated in self.found else 0

    @property
    def unable(self) -> set[str]:
        """The controls that too few seeds have for them to take anything away, or to leave it."""
        return {control for control in self.controls if control in self.found and not self.found[control].can}

    @property
    def verdict(self) -> str:
        """What the study says of it."""
        favor = self.favor
        if not favor:
            return CANNOT_TELL
        able = [control for control in self.controls if control in self.found and control not in self.unable]
        made = [self.found[control].favor for control in able]
        # What a control takes away from a difference it takes away whether the claim predicts it or not.
        stands = all(control * favor > 0 for control in made)
        if favor < 0:
            return CONTRADICTED if stands else CONTRADICTED_AT_END
        if not stands:
            return ONLY_AT_END
        return HOLDS if len(made) == len(self.controls) else UNCONTROLLED


@dataclass(frozen=True)
class Judged:
    """A claim and what a study says of it.

    Attributes:
        claim: The claim.
        tests: What the study can test of it.
        untested: What it predicts of levels that the study does not have, in words.
    """

    claim: Claim
    tests: tuple[TestedPrediction, ...]
    untested: tuple[str, ...] = field(default_factory=tuple)

    @property
    def counts(self) -> dict[str, int]:
        """How many tests have each verdict, the strongest first."""
        counted = Counter(test.verdict for test in self.tests)
        order = (HOLDS, UNCONTROLLED, ONLY_AT_END, CONTRADICTED, CONTRADICTED_AT_END, CANNOT_TELL)
        return {verdict: counted[verdict] for verdict in order if counted[verdict]}

    @property
    def verdict(self) -> str:
        """The verdict on the whole: a claim about several things holds if it holds for all of them."""
        counts = self.counts
        if not counts:
            return CANNOT_TELL
        if len(counts) == 1:
            return next(iter(counts))
        if CONTRADICTED in counts:
            return CONTRADICTED_IN_PART
        if HOLDS in counts and not counts.keys() <= {HOLDS, UNCONTROLLED}:
            return IN_PART
        found = next(verdict for verdict in (CONTRADICTED_AT_END, ONLY_AT_END, UNCONTROLLED) if verdict in counts)
        return _IN_PART.get(found, found) if CANNOT_TELL in counts else found
