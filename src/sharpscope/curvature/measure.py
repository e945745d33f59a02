r"""What a measure is: a generator that asks for reductions and returns an estimate, with declared facts.

Measures run together: each asks (``yield``) for the reductions it needs next, all that are asked for at the same time
are served by one pass over the data, and each goes on with its own results.

A measure is one function and one registration line::

    @measure(MeasureFacts(label="Gradient norm", symbol=r"\|\nabla L\|", sharper_is="larger", ...))
    def gradient_norm(risk: Risk) -> Steps:
        '''Norm of the gradient of the risk (a control).'''
        gradient = GradientSum()
        yield gradient
        return Estimate(gradient.norm(), samples=gradient.samples)

The decorated function, called with a risk, checks its options against their types, runs alone and returns the
estimate. The bounds of an option are declared in its type, such as ``Annotated[int, Field(ge=2)]``, so that a study
that breaks them is refused before it runs. Unit, cost and source of a measure stand in its facts, and come from there
into the docstring that ``help`` shows.
"""

from __future__ import annotations

import functools
import inspect
import math
import textwrap
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.passes import Additive, Evaluator, Reduction
from sharpscope.curvature.risk import Risk
from sharpscope.errors import FAULTS, NotDefined, SharpscopeError, let_go
from sharpscope.registry import Registry

Request = Reduction | tuple[Reduction, ...]
Steps = Generator[Request, Any, Estimate]
Definitions = Mapping[str, tuple[Callable[..., Steps], Mapping[str, Any]]]
Kinds = tuple[type[BaseException], ...]

INVARIANCES = {
    "LW": "layer-wise positive rescaling of ReLU networks",
    "NW": "neuron-wise positive rescaling, hidden and before the head",
    "b+c": "a constant added to the head's bias",
    "W+1u": "one vector added to all rows of the head",
    "BN": "folding BatchNorm into the layer before",
}


@dataclass(frozen=True)
class MeasureFacts:
    """What a measure declares; tested by the conformance suite and printed by ``sharpscope explain``.

    Attributes:
        label: Its name in a report: "Relative flatness".
        symbol: LaTeX.
        sharper_is: Whether a sharper minimum (or a more complex function, or a less certain one) has the larger value.
        invariances: Keys of ``INVARIANCES`` under which the value does not change; under the others it does.
        cost: In plain forward passes over the same data, as a person would say it.
        exact: True if it is no estimate.
        reference: The paper and where in it.
        caveats: What a reader must know before comparing values.
        unit: Empty where dimensionless.
        scale: How values are compared: by their ``ratio``, of what is positive and spans decades, or by their
            ``difference``; None declares nothing, and they are compared by their difference.
        kind: Whether it tells of the minimum's sharpness, of the function's complexity, or is a control, with which
            the others may move without being what they are taken for. Only sharpness makes a minimum "sharper".
        default: Whether ``sharpscope.measure`` computes it when nothing is asked for by name.
        of_classes: By all of its options, whether it is defined for outputs that tell classes apart only, whatever the
            loss; None where it never is.
        same_for_twins: Whether outputs divided by a temperature have the same value, as where it tells of predicted
            classes alone: it is not computed anew for a twin.
        kept_for_twins: By its options and the number of outputs, whether it keeps of a model what it needs of the
            model's twins; see ``Risk.twins``. None where it never does.
        variants: Options under which other invariances hold: ``({"normalize": False}, invariances)`` pairs.
    """

    label: str
    symbol: str
    sharper_is: Literal["larger", "smaller"]
    invariances: frozenset[str]
    cost: str
    exact: bool
    reference: str
    caveats: tuple[str, ...] = ()
    unit: str = ""
    scale: Literal["ratio", "difference"] | None = None
    kind: Literal["sharpness", "complexity", "control"] = "sharpness"
    default: bool = False
    of_classes: Callable[[Mapping[str, Any]], bool] | None = None
    same_for_twins: bool = False
    kept_for_twins: Callable[[Mapping[str, Any], int], bool] | None = None
    variants: tuple[tuple[Mapping[str, Any], frozenset[str]], ...] = ()

    def unchanged_by(self, options: Mapping[str, Any]) -> list[str]:
        """Return, in words, the changes of a model under which the value with some options does not change.

        Of variants that fit, those count that are not a part of another one; of several, what all have.
        """
        fitting = [(chosen, keys) for chosen, keys in self.variants if chosen.items() <= options.items()]
        closest = [keys for chosen, keys in fitting if not any(chosen.items() < other.items() for other, _ in fitting)]
        keys = frozenset.intersection(*closest) if closest else self.invariances
        return [words for key, words in INVARIANCES.items() if key in keys]


MEASURES: Registry[Any] = Registry("measure", package=("sharpscope.sharpness", "sharpscope.complexity"))


def measure(facts: MeasureFacts, *, version: int = 1) -> Callable[[Callable[..., Steps]], Callable[..., Estimate]]:
    """Return a decorator that registers a generator function as a measure under its own name."""

    def enroll(steps: Callable[..., Steps]) -> Callable[..., Estimate]:
        @functools.wraps(steps)
        def alone(risk: Risk, **options: Any) -> Estimate:
            name = steps.__name__
            return run_together(risk, {name: (steps, MEASURES[name].complete(options))}).estimates[name]

        alone.steps = steps  # type: ignore[attr-defined]
        alone.__doc__ = _documented(steps.__doc__ or "", facts)
        return MEASURES.register(version=version, facts=facts)(alone)

    return enroll


def _documented(docstring: str, facts: MeasureFacts) -> str:
    """Return the docstring of a measure with what its facts say of unit, cost and source."""
    told = {"Unit": facts.unit, "Cost": facts.cost, "Reference": facts.reference}
    lines = [textwrap.fill(f"{title}: {fact}", 120, subsequent_indent="    ") for title, fact in told.items() if fact]
    return "\n\n".join([inspect.cleandoc(docstring), *lines])


@dataclass(frozen=True)
class Measured:
    """What became of measures that were asked for together.

    Attributes:
        risk: The risk that was measured.
        asked: The measures, by key.
        estimates: What they found, by key, in the order in which they were asked for.
        failed: What was raised in the place of the others, by key.
        sums: The reductions of each measure that needed one pass only and nothing but sums over samples, by key, where
            they were to be kept.
    """

    risk: Risk
    asked: Definitions
    estimates: Mapping[str, Estimate]
    failed: Mapping[str, BaseException]
    sums: Mapping[str, tuple[Additive, ...]]


def run_together(
    risk: Risk,
    asked: Definitions,
    *,
    noted: Kinds = (),
    on_pass: Callable[[int], None] | None = None,
    keep_sums: bool = False,
) -> Measured:
    """Run measures side by side, each pass over the data serving all of them.

    What a measure raises, or one of the reductions that it asked for, costs that measure alone: the others go on, with
    the values that they would have had without it. What the pass itself raises, such as an error of the model, costs
    all measures that wait for it.

    Args:
        risk: The risk; entered as a context here if its caller did not.
        asked: By the key of the result: the measure's generator function and its options.
        noted: Kinds of errors that are noted in the result; all others are raised at once.
        on_pass: Called before each pass with the number of measures that wait for it.
        keep_sums: Whether to keep what ``on_the_rest`` goes by.

    Returns:
        The estimates, and what was raised in the place of those that are missing.

    Raises:
        SharpscopeError: What a measure raises and is not noted, with the key of the measure in front.
    """
    running = _Running(risk, asked, noted)
    evaluator = Evaluator(risk)
    try:
        with risk:
            while requests := running.advance():
                if on_pass is not None:
                    on_pass(len(requests))
                evaluator.run(requests, running.fail)
    except noted as error:
        running.fail_all(error)
    estimates = {key: running.estimates[key] for key in asked if key in running.estimates}
    return Measured(risk, asked, estimates, running.failed, running.sums if keep_sums else {})


def first_pass(risk: Risk, asked: Definitions, noted: Kinds) -> Mapping[str, BaseException]:
    """Make the first pass of measures over the data and nothing of what would follow, to see which cannot be had.

    Args:
        risk: The risk; entered as a context here if its caller did not.
        asked: As in ``run_together``.
        noted: Kinds of errors that are noted; all others are raised at once.

    Returns:
        By the key of the measure, what it raised that holds whatever the weights are: before it saw any data, which
        tells of its options and the model's layers, or that it is not defined here.
    """
    running = _Running(risk, asked, noted)
    unseen: dict[str, BaseException] = {}
    try:
        with risk:
            requests = running.advance()
            unseen = {key: error for key, error in running.failed.items() if isinstance(error, SharpscopeError)}
            Evaluator(risk).run(requests, running.fail)
    except noted as error:
        running.fail_all(error)
    return unseen | {key: error for key, error in running.failed.items() if isinstance(error, NotDefined)}


def on_the_rest(
    risk: Risk,
    steps: Callable[..., Steps],
    options: Mapping[str, Any],
    whole: Sequence[Additive],
    part: Sequence[Additive],
) -> Estimate | None:
    """Return a measure on the samples of ``whole`` that are not in ``part``, without a look at them.

    Args:
        risk: The risk on any samples.
        steps: The measure's generator function.
        options: Its options.
        whole: What ``sums`` of a result of ``run_together`` has of it for some samples.
        part: The same for a part of these.

    Returns:
        The estimate, or None if there the measure wants a second pass.
    """
    generator = steps(risk, **options)
    request = next(generator)
    for reduction, a, b in zip(_additive(_each(request)), whole, part, strict=True):
        reduction.rest_of(a, b)
    try:
        generator.send(request)
    except StopIteration as stop:
        return _checked(stop.value)
    return None


def _each(request: Request) -> tuple[Reduction, ...]:
    reductions = request if isinstance(request, tuple) else (request,)
    for reduction in reductions:
        if not isinstance(reduction, Reduction):
            raise SharpscopeError(
                f"a measure yields reductions, which derive from sharpscope.extend.Reduction, not {reduction!r}"
            )
    return reductions


def _additive(reductions: Sequence[Reduction]) -> tuple[Additive, ...]:
    return tuple(reduction for reduction in reductions if isinstance(reduction, Additive))


class _Measure:
    """One measure under way.

    Args:
        start: Makes the generator.

    Attributes:
        reductions: What it waits for.
        passes: How many passes it has asked for.
    """

    def __init__(self, start: Callable[[], Steps]) -> None:
        self._start = start
        self._steps: Steps | None = None
        self._request: Request | None = None
        self.reductions: tuple[Reduction, ...] = ()
        self.passes = 0

    def advance(self) -> Estimate | None:
        """Go on to the next request; return the estimate where there is none."""
        if self._steps is None:
            self._steps = self._start()
            if not isinstance(self._steps, Generator):
                raise SharpscopeError(
                    "a measure is a generator function, which yields the reductions that it needs and returns an "
                    f"Estimate; this one returns {self._steps!r} without a yield"
                )
        try:
            self._request = self._steps.send(self._request)
        except StopIteration as stop:
            return _checked(stop.value)
        self.reductions = _each(self._request)
        self.passes += 1
        return None

    @property
    def sums(self) -> tuple[Additive, ...] | None:
        """What it had of its data, if it needed one pass and sums over samples alone."""
        additive = _additive(self.reductions)
        return additive if self.passes == 1 and len(additive) == len(self.reductions) else None


class _Running:
    """Measures under way; see ``run_together``."""

    def __init__(self, risk: Risk, asked: Definitions, noted: Kinds) -> None:
        self.estimates: dict[str, Estimate] = {}
        self.failed: dict[str, BaseException] = {}
        self.sums: dict[str, tuple[Additive, ...]] = {}
        self._noted = noted
        self._measures = {
            key: _Measure(functools.partial(steps, risk, **options)) for key, (steps, options) in asked.items()
        }

    def advance(self) -> dict[str, tuple[Reduction, ...]]:
        """Let every measure go on to its next request, and return all reductions that are asked for, by key."""
        for key, measure in tuple(self._measures.items()):
            try:
                estimate = measure.advance()
            except FAULTS as error:
                self.fail(key, error)
            else:
                if estimate is not None:
                    self._finish(key, estimate)
        return {key: measure.reductions for key, measure in self._measures.items()}

    def _finish(self, key: str, estimate: Estimate) -> None:
        self.estimates[key] = estimate
        sums = self._measures.pop(key).sums
        if sums is not None:
            self.sums[key] = sums

    def fail(self, key: str, error: BaseException) -> None:
        """Give up a measure, with all that it has summed, for what it has raised."""
        if not isinstance(error, self._noted):
            raise _of(key, error) if isinstance(error, SharpscopeError) else error
        del self._measures[key]
        self.failed[key] = error
        let_go(error)

    def fail_all(self, error: BaseException) -> None:
        """Give up all measures for what their pass has raised."""
        self.failed |= dict.fromkeys(self._measures, error)
        self._measures.clear()
        let_go(error)


def _of(key: str, error: SharpscopeError) -> SharpscopeError:
    # Not by its constructor, which may take something else than a message.
    told = type(error).__new__(type(error))
    told.__dict__.update(error.__dict__)
    told.args = (f"{key}: {error}",)
    told.__cause__ = error
    return told


def _checked(estimate: Any) -> Estimate:
    if not isinstance(estimate, Estimate):
        raise SharpscopeError(f"a measure returns an Estimate, not {estimate!r}")
    if math.isfinite(estimate.value):
        return estimate
    reason = "the value is not finite: the loss or its derivatives overflow at these parameters"
    return replace(estimate, converged=False, details={**estimate.details, "reason": reason})
