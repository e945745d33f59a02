"""Measures share their passes and nothing else: what fails one of them costs no other, not in the last bit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from tests.cases import CASES
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MEASURES, Measured, Steps, first_pass, run_together
from sharpscope.curvature.operators import Hessian, Products, Space
from sharpscope.curvature.passes import Evaluation, Need, Reduction
from sharpscope.curvature.passes.reductions import Count, GradientSum
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import FAULTS, NotDefined, NotDeterministic, SharpscopeError

# What needs outputs, features, radial derivatives, gradients and graphs, in one pass and in several.
HEALTHY = ["margin", "relative_flatness", "fisher_rao_norm", "gradient_norm", "hessian_top_eigenvalue", "ggn_trace"]
CASE, SPLIT = CASES[2], (3, 4, 5)
KINDS = [NotDefined("no"), SharpscopeError("no"), ZeroDivisionError("no"), MemoryError("no"), SystemExit(1)]


class Fails(Reduction):
    """Raises at a batch, after it has taken in those before."""

    needs = Need.GRAPH
    any_order = True

    def __init__(self, error: BaseException, batch: int = 1, before: Callable[[Evaluation], Any] = id) -> None:
        self.left = batch
        self.error = error
        self.before = before
        self.fed = 0

    def update(self, evaluation: Evaluation) -> None:
        self.fed += 1
        if not self.left:
            self.before(evaluation)
            raise self.error
        self.left -= 1


class Streamed:
    """Data that are made anew for every pass, in an order that nobody vouches for."""

    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make())


def asked(**more: Callable[..., Steps]) -> dict[str, Any]:
    """Return those that fail, in front of, between, and behind those that do not."""
    healthy = {name: (MEASURES[name].function.steps, MEASURES[name].defaults) for name in HEALTHY}
    failing = {key: (steps, {}) for key, steps in more.items()}
    first = dict(list(healthy.items())[:2])
    return {**dict(list(failing.items())[:1]), **first, **failing, **healthy}


def together(requested: dict[str, Any], **options: Any) -> Measured:
    return run_together(Risk(CASE.model(), Batches(CASE.data(SPLIT))), requested, noted=FAULTS, **options)


@pytest.fixture(scope="module")
def expected() -> dict[str, Estimate]:
    found = together(asked())
    assert not found.failed
    return dict(found.estimates)


@pytest.mark.parametrize("error", KINDS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["at once", "before a pass", "in a pass", "after a pass", "in the second pass"])
def test_what_fails_costs_itself_alone(error: BaseException, where: str, expected: dict[str, Estimate]) -> None:
    def failing(risk: Risk) -> Steps:
        if where == "before a pass":
            raise error
        yield (Fails(error), GradientSum()) if where == "in a pass" else Count()
        if where == "in the second pass":
            yield GradientSum(), Fails(error)
        raise error

    def at_once(risk: Risk) -> Steps:
        raise error

    found = together(asked(bad=at_once if where == "at once" else failing))
    assert found.failed == {"bad": error}
    assert dict(found.estimates) == expected


def test_what_fails_costs_no_further_pass() -> None:
    def failing(risk: Risk) -> Steps:
        yield Fails(ZeroDivisionError())

    with_it: list[int] = []
    without: list[int] = []
    together(asked(bad=failing), on_pass=with_it.append)
    together(asked(), on_pass=without.append)
    assert with_it == [without[0] + 1, *without[1:]]


def test_an_interruption_ends_all() -> None:
    def failing(risk: Risk) -> Steps:
        yield Fails(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        together(asked(bad=failing))


def test_a_graph_is_good_after_an_exception_in_the_midst_of_its_derivatives(expected: dict[str, Estimate]) -> None:
    class Stop(RuntimeError):
        pass

    def broken_off(evaluation: Evaluation) -> None:
        graph = evaluation.graph
        names = list(graph.parameters)
        found = graph.gradient(names)

        def stop(_: Tensor) -> Tensor:
            raise Stop

        handle = found[0].grad_fn.next_functions[0][0].register_prehook(stop) if found[0].grad_fn else None
        try:
            graph.product(names, [torch.ones_like(p) for p in graph.parameters.values()])
        finally:
            if handle is not None:
                handle.remove()

    def failing(risk: Risk) -> Steps:
        yield Fails(Stop(), before=broken_off)

    found = together(asked(bad=failing))
    assert isinstance(found.failed["bad"], Stop)
    assert dict(found.estimates) == expected


def test_products_are_shared_with_one_that_fails_by_another_reduction() -> None:
    risk = Risk(CASE.model(), Batches(CASE.data(SPLIT)))
    vectors = torch.ones(1, Space(risk).size, dtype=Space(risk).dtype)
    seen: list[Products] = []

    def multiply(risk: Risk, *more: Reduction) -> Steps:
        products = Products(Hessian(Space(risk)), vectors)
        yield (products, *more)
        seen.append(products)
        return Estimate(float(products.value.sum()), samples=products.samples)

    def failing(risk: Risk) -> Steps:
        return (yield from multiply(risk, Fails(ZeroDivisionError())))

    alone = run_together(risk, {"good": (multiply, {})}).estimates
    found = run_together(risk, {"bad": (failing, {}), "good": (multiply, {})}, noted=FAULTS)
    assert dict(found.estimates) == dict(alone)
    assert list(found.failed) == ["bad"]
    assert seen[1]._twin is not None, "the products of the other were shared"


def test_those_who_share_what_fails_fail_with_it() -> None:
    class Twin(Fails):
        def follow(self, other: Reduction) -> bool:
            return isinstance(other, Twin)

    def failing(risk: Risk) -> Steps:
        yield Twin(ZeroDivisionError())

    found = together(asked(first=failing, second=failing))
    assert set(found.failed) == {"first", "second"}
    assert list(found.estimates) == list(asked())[:2] + list(asked())[2:]


def test_nothing_more_is_fed_to_one_that_failed() -> None:
    beside, failing = Fails(ValueError(), batch=9), Fails(ValueError(), batch=0)

    def bad(risk: Risk) -> Steps:
        yield beside, failing

    def counts(risk: Risk) -> Steps:
        count = Count()
        yield count
        return Estimate(1.0, samples=count.samples)

    found = together({"bad": (bad, {}), "good": (counts, {})})
    assert (beside.fed, failing.fed) == (1, 1)
    assert found.estimates["good"].samples == 12


def test_a_pass_that_no_one_waits_for_ends() -> None:
    batches = []

    def bad(risk: Risk) -> Steps:
        yield Fails(ValueError(), batch=0)

    def data() -> Iterator[Any]:
        for batch in CASE.data(SPLIT):
            batches.append(batch)
            yield batch

    risk = Risk(CASE.model(), Batches(Streamed(data)))
    assert list(run_together(risk, {"bad": (bad, {})}, noted=FAULTS).failed) == ["bad"]
    assert len(batches) == 1


def test_half_a_sum_is_no_sum() -> None:
    def bad(risk: Risk) -> Steps:
        gradient = GradientSum()
        yield gradient, Fails(ValueError())
        return Estimate(gradient.norm(), samples=gradient.samples)

    found = together(asked(bad=bad), keep_sums=True)
    assert "bad" not in found.sums
    assert {"relative_flatness", "gradient_norm"} <= set(found.sums)


def test_an_error_that_is_kept_keeps_no_tensors() -> None:
    held: list[weakref.ref[Any]] = []

    def remember(evaluation: Evaluation) -> None:
        held.append(weakref.ref(evaluation.outputs))

    def bad(risk: Risk) -> Steps:
        yield Fails(ValueError(), before=remember)

    found = together({"bad": (bad, {})})
    gc.collect()
    assert found.failed["bad"].__traceback__ is not None
    assert held[0]() is None


@pytest.mark.parametrize("error", [SharpscopeError("no"), ZeroDivisionError("no")])
def test_what_is_not_noted_is_raised_at_once(error: Exception) -> None:
    def bad(risk: Risk) -> Steps:
        yield Fails(error)

    named = "key: no" if isinstance(error, SharpscopeError) else "no"
    with pytest.raises(type(error), match=f"^{named}$"):
        run_together(Risk(CASE.model(), Batches(CASE.data(SPLIT))), {"key": (bad, {})}, noted=(NotDefined,))


def test_what_the_pass_raises_fails_all_that_wait_for_it() -> None:
    passes: list[int] = []

    def forward(model: nn.Module, inputs: Any) -> Any:
        if len(passes) > 1:
            raise ZeroDivisionError("worn out")
        return model(inputs)

    risk = Risk(CASE.model(), Batches(Streamed(lambda: CASE.data(SPLIT))), forward=forward)
    found = run_together(risk, asked(), noted=FAULTS, on_pass=passes.append)
    assert {"margin", "gradient_norm"} <= set(found.estimates)
    assert {str(error) for error in found.failed.values()} == {"worn out"}
    assert found.estimates.keys() | found.failed.keys() == set(HEALTHY)
    with pytest.raises(ZeroDivisionError, match="worn out"):
        run_together(risk, asked())


def test_data_that_change_fail_what_waits_for_them() -> None:
    passes = 0

    def data() -> Iterator[Any]:
        nonlocal passes
        passes += 1
        for x, y in CASE.data(SPLIT):
            yield x + 0.1 * (passes > 1), y

    found = run_together(Risk(CASE.model(), Batches(Streamed(data))), asked(), noted=(NotDeterministic,))
    assert {"margin", "gradient_norm"} <= set(found.estimates)
    assert {"hessian_top_eigenvalue"} <= set(found.failed)


class OnceOnly(torch.autograd.Function):
    """A square whose backward pass fails."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.square()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise RuntimeError("no backward pass")


class Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return OnceOnly.apply(x)


def test_a_model_without_derivatives_has_what_needs_none() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 4), Squared(), nn.Linear(4, 3))
    x, y = torch.randn(12, 5), torch.arange(12) % 3
    found = run_together(Risk(model, Batches([(x[:5], y[:5]), (x[5:], y[5:])])), asked(), noted=FAULTS)
    assert set(found.estimates) == {"margin", "relative_flatness"}
    assert {str(error) for error in found.failed.values()} == {"no backward pass"}
    assert dict(found.estimates) == {
        name: measure(model, [(x[:5], y[:5]), (x[5:], y[5:])], [name])[name] for name in found.estimates
    }


@pytest.mark.parametrize(
    ("part", "costs"),
    [
        ("Graph", {"hessian_top_eigenvalue", "ggn_trace"}),
        ("RadialRoute.evaluate", {"fisher_rao_norm"}),
        ("HeadFinder.features", {"relative_flatness"}),
        ("gradient_of", {"gradient_norm"}),
    ],
)
@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("no kernel")])
def test_what_cannot_be_had_of_a_batch_costs_those_who_need_it(
    part: str, costs: set[str], error: Exception, expected: dict[str, Estimate], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise error

    wanted = {key: value for key, value in asked().items() if part != "gradient_of" or key in {"margin", *costs}}
    monkeypatch.setattr(f"sharpscope.curvature.passes.evaluator.{part}", fail)
    found = together(wanted)
    assert found.failed == dict.fromkeys(costs, error)
    for key, estimate in found.estimates.items():
        assert estimate.value == pytest.approx(expected[key].value, rel=1e-12)


def test_an_error_of_the_model_is_the_first_that_it_raised() -> None:
    """Whatever is tried in the place of what was asked for."""
    raised: list[ValueError] = []

    def forward(model: nn.Module, inputs: Any) -> Any:
        raised.append(ValueError(f"the error {len(raised)}, {torch.is_grad_enabled()}"))
        raise raised[-1]

    with pytest.raises(ValueError, match=r"the error \d+, True") as told:
        run_together(Risk(CASE.model(), Batches(CASE.data(SPLIT)), forward=forward), asked())
    assert told.value in raised


def test_the_first_pass_tells_what_cannot_be_had_whatever_the_weights() -> None:
    def undefined(risk: Risk) -> Steps:
        yield Fails(NotDefined("not here"))

    def options(risk: Risk) -> Steps:
        raise SharpscopeError("these two exclude each other")
        yield Count()

    def numbers(risk: Risk) -> Steps:
        yield Fails(ZeroDivisionError())

    def samples(risk: Risk) -> Steps:
        yield Fails(SharpscopeError("these samples are no good"))

    def later(risk: Risk) -> Steps:
        yield Count()
        raise NotDefined("not here either")

    risk = Risk(CASE.model(), Batches(CASE.data(SPLIT)))
    every = asked(undefined=undefined, options=options, numbers=numbers, samples=samples, later=later)
    assert sorted(first_pass(risk, every, FAULTS)) == ["options", "undefined"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (lambda risk: (yield 3), "key: a measure yields reductions, .* not 3"),
        (lambda risk: (yield from ()), "key: a measure returns an Estimate, not None"),
        (lambda risk: 1.0, "key: a measure is a generator function"),
    ],
)
def test_what_is_no_measure_is_told_in_a_sentence(steps: Any, message: str) -> None:
    with pytest.raises(SharpscopeError, match=message):
        run_together(Risk(nn.Linear(3, 2), Batches((torch.randn(4, 3), torch.arange(4) % 2))), {"key": (steps, {})})


def test_a_reduction_declares_what_it_needs() -> None:
    class Forgetful(Reduction):
        def update(self, evaluation: Evaluation) -> None:
            """Do nothing."""

    with pytest.raises(TypeError, match="needs"):
        Forgetful()  # type: ignore[abstract]
