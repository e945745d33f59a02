"""Eigenvalues, trace, Frobenius norm and spectral density of the Hessian and of the Gauss-Newton matrix."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from sharpscope.curvature.estimate import Estimate, mean_of
from sharpscope.curvature.estimators import Algorithm, Eigenvalues, ProbeValues, deflated_probes, lanczos
from sharpscope.curvature.estimators import stochastic_lanczos_quadrature as quadrature
from sharpscope.curvature.estimators.sequential_sampling import BUDGET, Draws, further_draws, judged
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.operators import GaussNewton, Hessian, Operator, Products, Space, of_products
from sharpscope.curvature.risk import Risk
from sharpscope.errors import SharpscopeError
from sharpscope.sharpness.exact_trace import ExactTrace, SpareProducts, Traceable

Patterns = str | list[str] | None
Route = Literal["exact", "differences"]
# The standard error follows from the spread of the points of a quadrature, of which one has none.
Points = Annotated[int, Field(ge=2)]

_SHIFTS = frozenset({"b+c", "W+1u"})
_SCALES = "It changes under rescalings of the parameters that leave the function as it is."
_KINKS = "Kinks, as of ReLU, do not count: it is the trace of the second derivatives between them."
_GGN = "It equals the Hessian where the model is linear, or its outputs fit perfectly; it is never negative."


def _facts(label: str, symbol: str, cost: str, reference: str, *caveats: str) -> MeasureFacts:
    return MeasureFacts(
        label=label,
        symbol=symbol,
        sharper_is="larger",
        invariances=_SHIFTS,
        cost=cost,
        exact=False,
        scale="ratio",
        reference=reference,
        caveats=(_SCALES, *caveats),
    )


_EIGENVALUE_COST = "about 7 to 20 products, each of 3 gradients (Hessian) or 2 (Gauss-Newton)"
_TRACE_COST = "2 x sketch + probes products (32), each of 3 gradients (Hessian) or 2 (Gauss-Newton)"
_EXACT_COST = "where exact, C forward passes and the norms of C rows a sample (C outputs); else " + _TRACE_COST
_DENSITY_COST = "starts x steps products (96), each of 3 gradients (Hessian) or 2 (Gauss-Newton)"
_WU = 'Wu and Simon, "Thick-Restart Lanczos Method for Large Symmetric Eigenvalue Problems", SIMAX 2000'
_MEYER = 'Meyer et al., "Hutch++: Optimal Stochastic Trace Estimation", SOSA 2021'
# What a basis may take of memory before it is restarted, in bytes.
_MEMORY = 2**31
_GHORBANI = 'Ghorbani et al., "An Investigation into Neural Net Optimization via Hessian Eigenvalue Density", ICML 2019'


@measure(_facts("Hessian top eigenvalue", r"\lambda_{max}(H)", _EIGENVALUE_COST, _WU))
def hessian_top_eigenvalue(
    risk: Risk, *, k: PositiveInt = 1, budget: PositiveInt = 100, parameters: Patterns = None, route: Route = "exact"
) -> Steps:
    r"""Largest algebraic eigenvalue of the Hessian of the risk (larger is sharper).

    .. math:: \lambda_{max}(\nabla^2 L(\theta))

    By Lanczos with full reorthogonalization, one pass over the data a step. Memory: one vector of P numbers a product,
    up to 2 GB or ``2 k + 16`` of them; beyond that it is restarted from the best part.

    Args:
        risk: Model, loss and N samples.
        k: How many of the largest eigenvalues; all stand in ``details``.
        budget: At most so many Hessian-vector products.
        parameters: Names, prefixes of names, or shell patterns: the diagonal block of these parameters; all when None.
        route: "exact" products, or central "differences" of gradients, which take no second derivatives.

    Returns:
        The eigenvalue, never above the largest one but for rounding. ``stderr`` is the norm of its residual: an
        eigenvalue lies within this distance, most often far nearer. That it is the largest is likely, not certain,
        since the start is random. ``converged`` is true where the residual of each value is at most ``rtol`` (1e-3 by
        default) of the value, or of 1e-3 of the largest absolute eigenvalue where the value is nearer to zero than
        that, and the value stayed for some steps. For ``k`` above 1, an eigenvalue stands as often as it occurs: where
        two of the values agree, further copies are sought from fresh starts.
    """
    return (yield from _top_eigenvalue(risk, Hessian(Space(risk, parameters), route), k, budget))


@measure(_facts("Gauss-Newton top eigenvalue", r"\lambda_{max}(G)", _EIGENVALUE_COST, _WU, _GGN))
def ggn_top_eigenvalue(
    risk: Risk, *, k: PositiveInt = 1, budget: PositiveInt = 100, parameters: Patterns = None
) -> Steps:
    r"""Largest eigenvalue of the generalized Gauss-Newton matrix (larger is sharper).

    .. math:: \lambda_{max}(E[J^T A J])

    Args:
        risk: Model, loss and N samples.
        k: How many of the largest eigenvalues; all stand in ``details``.
        budget: At most so many products.
        parameters: Names, prefixes of names, or shell patterns: the diagonal block of these parameters; all when None.

    Returns:
        The eigenvalue; ``stderr`` is how far it may be off, as in ``hessian_top_eigenvalue``.
    """
    return (yield from _top_eigenvalue(risk, GaussNewton(Space(risk, parameters)), k, budget))


@measure(_facts("Hessian trace", r"\mathrm{tr}(H)", _EXACT_COST, _MEYER, _KINKS), version=2)
def hessian_trace(
    risk: Risk, *, sketch: NonNegativeInt = 8, probes: Draws = 16, parameters: Patterns = None, route: Route = "exact"
) -> Steps:
    r"""Trace of the Hessian of the risk (larger is sharper).

    .. math:: \mathrm{tr}(\nabla^2 L(\theta))

    It is exact, without probes, where the outputs are piecewise linear in every single parameter: layers linear in
    their parameters, each used once, BatchNorm among them, with ReLU, LeakyReLU, max-pooling and sums of branches, as
    in ResNets; not with tanh, GELU, LayerNorm, attention or tied weights. There it is the trace of the Gauss-Newton
    matrix, computed and limited as that of ``ggn_trace``, since the second derivatives of the outputs have nothing on
    their diagonal. Whether second derivatives by autograd are right is seen on a few samples.

    Else random probes estimate it, beside the part in a sketched subspace of the large eigenvalues, which is exact.

    Args:
        risk: Model, loss and N samples.
        sketch: The dimension of the subspace, where probes are drawn; 0 for plain Hutchinson probes.
        probes: How many probes, where they are drawn; with ``rtol`` more are drawn until it is reached.
        parameters: Names, prefixes of names, or shell patterns: the diagonal block of these parameters; all when None.
        route: "exact" second derivatives, or probes by central "differences" of gradients, which take none.

    Returns:
        The trace: exact, with ``details["route"]`` "jacobian_rows" and no standard error, or the estimate with that
        over probes. ``details["layers"]`` has value and standard error of the trace of each module's own block.
    """
    return (yield from _trace(risk, Hessian(Space(risk, parameters), route), sketch, probes))


@measure(_facts("Gauss-Newton trace", r"\mathrm{tr}(G)", _EXACT_COST, _MEYER, _GGN), version=2)
def ggn_trace(risk: Risk, *, sketch: NonNegativeInt = 8, probes: Draws = 16, parameters: Patterns = None) -> Steps:
    r"""Trace of the generalized Gauss-Newton matrix (larger is sharper).

    .. math:: \mathrm{tr}(E[J^T A J]) = E_n \sum_r w_{nr} |v_{nr}^T J_n|^2, \quad A_n = \sum_r w_{nr} v_{nr} v_{nr}^T

    It is exact where the operations that use parameters are known and linear in them, as nearly all layers are, and the
    directions v are few: up to 3/4 of the products that probes would take, which is 24 by default, of the C - 1 that
    cross-entropy has, or the C of other losses. Else random probes estimate it, as in ``hessian_trace``.

    Args:
        risk: Model, loss and N samples.
        sketch: The dimension of the subspace that is exact, where probes are drawn; 0 for plain Hutchinson probes.
        probes: How many probes, where they are drawn; with ``rtol`` more are drawn until it is reached.
        parameters: Names, prefixes of names, or shell patterns: the diagonal block of these parameters; all when None.

    Returns:
        The trace, exact or with its standard error over probes; ``details`` as in ``hessian_trace``.
    """
    return (yield from _trace(risk, GaussNewton(Space(risk, parameters)), sketch, probes))


@measure(_facts("Hessian Frobenius norm", r"\|H\|_F", _TRACE_COST, _MEYER))
def hessian_frobenius_norm(
    risk: Risk, *, sketch: NonNegativeInt = 8, probes: Draws = 16, parameters: Patterns = None, route: Route = "exact"
) -> Steps:
    r"""Frobenius norm of the Hessian of the risk (larger is sharper).

    .. math:: \|\nabla^2 L(\theta)\|_F = \sqrt{E_g |H g|^2}

    Args:
        risk: Model, loss and N samples.
        sketch: The dimension of the subspace that is exact; 0 for plain probes.
        probes: How many probes; with ``rtol`` more are drawn until it is reached.
        parameters: Names, prefixes of names, or shell patterns: the diagonal block of these parameters; all when None.
        route: "exact" products, or central "differences" of gradients, which take no second derivatives.

    Returns:
        The root of an unbiased estimate of the square, with the standard error that follows to first order.
    """
    return (yield from _frobenius_norm(risk, Hessian(Space(risk, parameters), route), sketch, probes))


@measure(_facts("Gauss-Newton Frobenius norm", r"\|G\|_F", _TRACE_COST, _MEYER, _GGN))
def ggn_frobenius_norm(
    risk: Risk, *, sketch: NonNegativeInt = 8, probes: Draws = 16, parameters: Patterns = None
) -> Steps:
    r"""Frobenius norm of the generalized Gauss-Newton matrix (larger is sharper).

    .. math:: \|E[J^T A J]\|_F

    Args:
        risk: Model, loss and N samples.
        sketch: The dimension of the subspace that is exact; 0 for plain probes.
        probes: How many probes; with ``rtol`` more are drawn until it is reached.
        parameters: Names, prefixes of names, or shell patterns: the diagonal block of these parameters; all when None.

    Returns:
        The root of an unbiased estimate of the square, with the standard error that follows to first order.
    """
    return (yield from _frobenius_norm(risk, GaussNewton(Space(risk, parameters)), sketch, probes))


@measure(_facts("Hessian spectral density", r"\rho_H(\lambda)", _DENSITY_COST, _GHORBANI), version=2)
def hessian_density(
    risk: Risk, *, starts: Draws = 4, steps: Points = 24, parameters: Patterns = None, route: Route = "exact"
) -> Steps:
    r"""Spectral density of the Hessian; its value is the trace, details have its shape (larger is sharper).

    .. math:: \rho(\lambda) = \frac{1}{P} \sum_i \delta(\lambda - \lambda_i(H))

    By stochastic Lanczos quadrature. Memory: ``starts * steps`` vectors of P numbers.

    Args:
        risk: Model, loss and N samples.
        starts: Independent random starts.
        steps: Lanczos steps a start: the points of its quadrature; at least 2, since one tells nothing of the spread.
        parameters: Names, prefixes of names, or shell patterns: the diagonal block of these parameters; all when None.
        route: "exact" products, or central "differences" of gradients, which take no second derivatives.

    Returns:
        The trace that the density implies, with its standard error. The density tells that error itself: a start is
        uniform on a sphere, whose mean of a quadratic form has a variance that follows from the eigenvalues, so that no
        Student's t is needed, however few the starts. ``details`` have ``nodes`` and ``weights`` (a list a start; the
        weights of a start add up to 1), ``known``, how many extreme eigenvalues all starts found alike (each has
        exactly the weight 1 / P, and no part in the error), and ``negative``, the share of eigenvalues below
        ``threshold``, which is -1e-3 times the largest absolute value found. The standard error of that share joins
        the chance of the starts and how far the share of so few points may be off that of the spectrum; more steps
        make the latter smaller.
    """
    return (yield from _density(risk, Hessian(Space(risk, parameters), route), starts, steps))


@measure(_facts("Gauss-Newton spectral density", r"\rho_G(\lambda)", _DENSITY_COST, _GHORBANI, _GGN), version=2)
def ggn_density(risk: Risk, *, starts: Draws = 4, steps: Points = 24, parameters: Patterns = None) -> Steps:
    r"""Spectral density of the Gauss-Newton matrix; its value is the trace, details have its shape (larger is sharper).

    .. math:: \rho(\lambda) = \frac{1}{P} \sum_i \delta(\lambda - \lambda_i(G))

    Args:
        risk: Model, loss and N samples.
        starts: Independent random starts.
        steps: Lanczos steps a start: the points of its quadrature; at least 2, since one tells nothing of the spread.
        parameters: Names, prefixes of names, or shell patterns: the diagonal block of these parameters; all when None.

    Returns:
        The trace that the density implies; ``details`` as in ``hessian_density``.
    """
    return (yield from _density(risk, GaussNewton(Space(risk, parameters)), starts, steps))


def multiplied(
    operator: Operator, algorithm: Algorithm[Any], products: Products | None = None
) -> Generator[Any, Any, tuple[Any, int]]:
    """Run an algorithm with the products of an operator, one pass over the data for each block that it asks for.

    Args:
        operator: The matrix.
        algorithm: What asks for the products.
        products: The first that it asked for, if they are made already.

    Returns:
        What the algorithm found, and the number of samples.
    """
    if products is None:
        products = Products(operator, next(algorithm))
        yield products
    while True:
        try:
            block = algorithm.send(products.value)
        except StopIteration as stop:
            return stop.value, products.samples
        products = Products(operator, block)
        yield products


def _generator(risk: Risk, operator: Operator, purpose: str) -> torch.Generator:
    return risk.stream.child(operator.name, purpose).torch(operator.space.device)


def _top_eigenvalue(risk: Risk, operator: Operator, k: int, budget: int) -> Generator[Any, Any, Estimate]:
    if budget < k:
        raise SharpscopeError(f"budget must be at least k, got k={k} and budget={budget}")
    space = operator.space
    algorithm = lanczos(
        space.size,
        _generator(risk, operator, "lanczos"),
        k=k,
        tol=risk.rtol or 1e-3,
        budget=budget,
        rows=max(2 * k + 16, _MEMORY // (space.size * space.dtype.itemsize)),
        dtype=space.dtype,
    )
    found: Eigenvalues
    found, samples = yield from multiplied(operator, algorithm)
    details = {
        "eigenvalues": found.values.tolist(),
        "residuals": found.residuals.tolist(),
        "products": found.products,
        "parameters": space.size,
    }
    if found.reason:
        details["reason"] = found.reason
    estimate = Estimate(float(found.values[0]), float(found.residuals[0]), samples, found.converged, details)
    return of_products(operator, estimate)


def _probes(risk: Risk, operator: Operator, sketch: int, probes: int, of: str) -> Algorithm[ProbeValues]:
    def further(found: ProbeValues) -> int:
        return 0 if risk.rtol is None else further_draws(getattr(found, of), risk.rtol, BUDGET * probes)

    space = operator.space
    return deflated_probes(
        space.size,
        _generator(risk, operator, "probes"),
        sketch=sketch,
        probes=probes,
        further=further,
        blocks=space.layers(),
        dtype=space.dtype,
    )


def _trace(risk: Risk, operator: Traceable, sketch: int, probes: int) -> Generator[Any, Any, Estimate]:
    algorithm = _probes(risk, operator, sketch, probes, "trace")
    exact, first = ExactTrace(operator, 2 * sketch + probes), next(algorithm)
    spare = SpareProducts(operator, first, exact)
    yield exact, spare
    if exact.fits:
        return exact.estimate
    products: Products = spare
    if not spare.whole:
        products = Products(operator, first)
        yield products
    found, samples = yield from multiplied(operator, algorithm, products)
    layers = {name: mean_of(values, samples) for name, values in found.blocks.items()}
    estimate = mean_of(
        found.trace,
        samples,
        products=found.products,
        layers={name: {"value": e.value, "stderr": e.stderr} for name, e in layers.items()},
    )
    return judged(of_products(operator, estimate), risk.rtol)


def _frobenius_norm(risk: Risk, operator: Operator, sketch: int, probes: int) -> Generator[Any, Any, Estimate]:
    found, samples = yield from multiplied(operator, _probes(risk, operator, sketch, probes, "square"))
    square = mean_of(found.square, samples, products=found.products)
    root = math.sqrt(square.value)
    stderr = square.stderr / (2 * root) if root > 0 else 0.0
    return judged(of_products(operator, Estimate(root, stderr, samples, details=square.details)), risk.rtol)


def _density(risk: Risk, operator: Operator, starts: int, steps: int) -> Generator[Any, Any, Estimate]:
    space = operator.space
    generator = _generator(risk, operator, "density")
    algorithm = quadrature(space.size, generator, starts=starts, steps=steps, dtype=space.dtype)
    found, samples = yield from multiplied(operator, algorithm)
    threshold = -1e-3 * float(found.nodes.abs().max())
    trace, stderr = found.total(found.nodes)
    share, share_stderr = found.share_below(threshold)
    details = {
        "starts": starts,
        "products": found.products,
        "nodes": found.nodes.tolist(),
        "weights": found.weights.tolist(),
        "known": space.size - found.unknown,
        "negative": {"value": share, "stderr": share_stderr, "threshold": threshold},
    }
    return of_products(operator, Estimate(trace, stderr, samples, details=details))
