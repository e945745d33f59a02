r"""What a measure is: a generator that asks for reductions and returns an estimate, with declared facts.

Measures run together: each asks (``yield``) for the reductions it needs next, all that are asked for at the same time
are served by one pass over the data, and each goes on with its own results.

A measure is one function and one registration line::

    @measure(MeasureFacts(label="Gradient norm", symbol=r"\|\nabla L\|", sharper_is="larger", ...))
    def gradient_norm(risk: Risk) -> Steps:
        '''Norm of the gradient of the risk.'''
        gradient = GradientSum()
        yield gradient
        return Estimate(gradient.norm(), samples=gradient.samples)

The decorated function, called with a risk, runs alone and returns the estimate.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.passes import Additive, Evaluator, Reduction
from sharpscope.curvature.risk import Risk
from sharpscope.errors import NotDefined, SharpscopeError
from sharpscope.registry import Registry

Request = Reduction | tuple[Reduction, ...]
Steps = Generator[Request, Any, Estimate]
Asked = Mapping[str, tuple[Callable[..., Steps], Mapping[str, Any]]]
Sums = dict[str, tuple[Additive, ...]]

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
        kind: Whether it tells of the minimum's sharpness, of the function's complexity, or is a control, with which
            the others may move without being what they are taken for. Only sharpness makes a minimum "sharper".
        default: Whether ``sharpscope.measure`` computes it when nothing is asked for by name.
        of_classes: By all of its options, whether it is defined for outputs that tell classes apart only, whatever the
            loss; None where it never is.
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
    kind: Literal["sharpness", "complexity", "control"] = "sharpness"
    default: bool = False
    of_classes: Callable[[Mapping[str, Any]], bool] | None = None
    variants: tuple[tuple[Mapping[str, Any], frozenset[str]], ...] = ()


MEASURES: Registry[Any] = Registry("measure", package=("sharpscope.sharpness", "sharpscope.complexity"))


def measure(facts: MeasureFacts, *, version: int = 1) -> Callable[[Callable[..., Steps]], Callable[..., Estimate]]:
    """Return a decorator that registers a generator function as a measure under its own name."""

    def enroll(steps: Callable[..., Steps]) -> Callable[..., Estimate]:
        @functools.wraps(steps)
        def alone(risk: Risk, **options: Any) -> Estimate:
            return run_together(risk, {steps.__name__: (steps, options)})[steps.__name__]

        alone.steps = steps  # type: ignore[attr-defined]
        return MEASURES.register(version=version, facts=facts)(alone)

    return enroll


def run_together(
    risk: Risk,
    asked: Asked,
    on_pass: Callable[[int], None] | None = None,
    on_refusal: Callable[[str, NotDefined], None] | None = None,
    sums: Sums | None = None,
) -> dict[str, Estimate]:
    """Run measures side by side, each pass over the data serving all of them.

    Args:
        risk: The risk; entered as a context here if its caller did not.
        asked: By the key of the result: the measure's generator function and its options.
        on_pass: Called before each pass with the number of measures that wait for it.
        on_refusal: Called with the key of a measure that is not defined for this model, loss or data, and why; its
            key is then left out of the result. The error is raised when None.
        sums: Gets, by key, what each measure asked for that needs one pass only and nothing but sums over samples.

    Returns:
        The estimates under the same keys, in the same order.

    Raises:
        SharpscopeError: What a measure raises, with its key in front.
    """
    running = _Running(risk, asked, on_refusal)
    evaluator = Evaluator(risk)
    with risk:
        while requests := running.advance():
            if on_pass is not None:
                on_pass(len({key for key, _ in requests}))
            evaluator.run([reduction for _, reduction in requests], running.refuse_owner)
    if sums is not None:
        sums.update(running.sums())
    return {key: running.results[key] for key in asked if key in running.results}


def first_pass(risk: Risk, asked: Asked, on_refusal: Callable[[str, NotDefined], None]) -> None:
    """Make the first pass of measures over the data and nothing of what would follow, to see which are not defined.

    Args:
        risk: The risk; entered as a context here if its caller did not.
        asked: As in ``run_together``.
        on_refusal: Called with the key of a measure that is not defined for this model, loss or data, and why.

    Raises:
        SharpscopeError: What else a measure raises, with its key in front.
    """
    running = _Running(risk, asked, on_refusal)
    with risk:
        Evaluator(risk).run([reduction for _, reduction in running.advance()], running.refuse_owner)


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
        whole: What ``sums`` of ``run_together`` has of it for some samples.
        part: The same for a part of these.

    Returns:
        The estimate, or None if there the measure wants a second pass.
    """
    generator = steps(risk, **options)
    request = next(generator)
    for reduction, a, b in zip(_each(request), whole, part, strict=True):
        assert isinstance(reduction, Additive)
        reduction.rest_of(a, b)
    try:
        generator.send(request)
    except StopIteration as stop:
        return _checked(stop.value)
    return None


def _each(request: Request) -> tuple[Reduction, ...]:
    return request if isinstance(request, tuple) else (request,)


class _Running:
    """Measures under way, each with the reductions that it waits for."""

    def __init__(
        self,
        risk: Risk,
        asked: Asked,
        on_refusal: Callable[[str, NotDefined], None] | None,
    ) -> None:
        self.results: dict[str, Estimate] = {}
        self._generators = {key: steps(risk, **options) for key, (steps, options) in asked.items()}
        self._answers: dict[str, Any] = dict.fromkeys(asked)
        self._passes = dict.fromkeys(asked, 0)
        self._on_refusal = on_refusal

    def advance(self) -> list[tuple[str, Reduction]]:
        """Let every measure go on to its next request, and return all reductions that are asked for, by key."""
        self._requests: list[tuple[str, Reduction]] = []
        for key, generator in list(self._generators.items()):
            try:
                request = generator.send(self._answers[key])
            except StopIteration as stop:
                self.results[key] = _checked(stop.value)
                del self._generators[key]
            except NotDefined as error:
                self.refuse(key, error)
            except SharpscopeError as error:
                raise _of(key, error) from error
            else:
                self._answers[key] = request
                self._passes[key] += 1
                self._requests += [(key, r) for r in _each(request)]
        return self._requests

    def sums(self) -> Sums:
        """Return what the measures had of their data that needed one pass and sums over samples alone."""
        found = {}
        for key in self.results:
            wanted = _each(self._answers[key])
            additive = tuple(reduction for reduction in wanted if isinstance(reduction, Additive))
            if self._passes[key] == 1 and len(additive) == len(wanted):
                found[key] = additive
        return found

    def refuse_owner(self, reduction: Reduction, error: NotDefined) -> None:
        """Give up the measure that waits for a reduction."""
        self.refuse(next(key for key, waiting in self._requests if waiting is reduction), error)

    def refuse(self, key: str, error: NotDefined) -> None:
        """Give up a measure, or all of them where that was not allowed for."""
        if self._on_refusal is None:
            raise _of(key, error) from error
        # Both reductions of a measure may be refused for the same reason.
        if self._generators.pop(key, None) is not None:
            self._on_refusal(key, error)


def _of(key: str, error: SharpscopeError) -> SharpscopeError:
    # Not by its constructor, which may take something else than a message.
    told = type(error).__new__(type(error))
    told.__dict__.update(error.__dict__)
    told.args = (f"{key}: {error}",)
    return told


def _checked(estimate: Estimate) -> Estimate:
    if math.isfinite(estimate.value):
        return estimate
    reason = "the value is not finite: the loss or its derivatives overflow at these parameters"
    return replace(estimate, converged=False, details={**estimate.details, "reason": reason})
