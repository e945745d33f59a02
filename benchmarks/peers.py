"""Eigenvalues, trace and density against other packages: three networks, each with the same data and process for all.

Needs ``pip install curvlinops-for-pytorch pyhessian hessian-eigenthings==1.0.0a5``; a package that is missing is left
out, and so is PyHessian's density, which calls a function that PyTorch has removed. Each is called as its documentation
shows, with channels in their usual order. ``python -m benchmarks peers`` takes one thread, whose processor time is
told, and some minutes. Every row has its error against a reference in float64 by plain second derivatives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.problems import digits, trained
from benchmarks.timing import machine, table
from sharpscope import measure

ROUNDS = 3
TRACE_ERROR = 0.05
STARTS, STEPS = 2, 16


@dataclass(frozen=True)
class Problem:
    """A trained network and its data, in one batch.

    Attributes:
        label: For the table.
        model: The network.
        x: Its inputs.
        y: Their classes.
        linear_pieces: Whether its outputs are piecewise linear in each parameter, so that the diagonals of the Hessian
            and of the Gauss-Newton matrix are the same.
    """

    label: str
    model: nn.Module
    x: Tensor
    y: Tensor
    linear_pieces: bool

    @property
    def data(self) -> list[tuple[Tensor, Tensor]]:
        """All samples as one batch."""
        return [(self.x, self.y)]


def problems() -> list[Problem]:
    """Return the three networks."""
    many, few = digits(512, 28), digits(256, 28)
    small = {"dim": 64, "depth": 2, "heads": 4, "head_dim": 16, "mlp_dim": 128}
    return [
        Problem("MLP, 512 samples", trained("mlp", many, epochs=20, hidden=(300, 100)), *many, True),
        Problem("resnet8 with BatchNorm, 256 samples", trained("resnet8", few, epochs=10), *few, True),
        Problem("vision transformer, 256 samples", trained("vit", few, epochs=20, **small), *few, False),
    ]


class Plain(LinearOperator):
    """Products with the Hessian by a plain double backward pass, the graph of the gradient kept."""

    def __init__(self, problem: Problem, dtype: torch.dtype = torch.float32) -> None:
        parameters = {n: p.detach().to(dtype).requires_grad_() for n, p in problem.model.named_parameters()}
        buffers = {n: b.to(dtype) if b.is_floating_point() else b for n, b in problem.model.named_buffers()}
        self._chosen = list(parameters.values())
        outputs = functional_call(problem.model, {**parameters, **buffers}, (problem.x.to(dtype),))
        loss = F.cross_entropy(outputs, problem.y)
        self._gradient = torch.autograd.grad(loss, self._chosen, create_graph=True)
        self._dtype = dtype
        self.products = 0
        size = sum(p.numel() for p in self._chosen)
        super().__init__({torch.float32: np.float32, torch.float64: np.float64}[dtype], (size, size))

    def _matvec(self, vector: Any) -> Any:
        self.products += 1
        flat = torch.as_tensor(vector, dtype=self._dtype).reshape(-1)
        parts = flat.split([p.numel() for p in self._chosen])
        seeds = [part.view_as(p) for part, p in zip(parts, self._chosen, strict=True)]
        found = torch.autograd.grad(self._gradient, self._chosen, seeds, retain_graph=True)
        return torch.cat([f.reshape(-1) for f in found]).numpy()


@dataclass(frozen=True)
class Reference:
    """What is true: the five largest eigenvalues, and the trace with its error."""

    eigenvalues: Any
    trace: float
    stderr: float


def by_probes() -> AbstractContextManager[object]:
    """Return a context in which no trace is computed exactly."""
    return mock.patch("sharpscope.sharpness.exact_trace._PASSES_A_PRODUCT", 0)


def reference(problem: Problem) -> Reference:
    """Compute in float64; the trace is exact where the diagonal is that of the Gauss-Newton matrix."""
    plain = Plain(problem, torch.float64)
    values = np.sort(eigsh(plain, k=5, which="LA", tol=1e-9, return_eigenvectors=False))[::-1]
    if problem.linear_pieces:
        return Reference(values, gauss_newton_trace(problem), 0.0)
    model = problem.model.double()
    data = [(problem.x.double(), problem.y)]
    found = measure(model, data, {"hessian_trace": {"sketch": 32, "probes": 64}}, seed=1)["hessian_trace"]
    problem.model.float()
    return Reference(values, found.value, found.stderr)


def gauss_newton_trace(problem: Problem) -> float:
    """Sum ``|J_n^T l|^2`` over samples and the columns l of a root of the loss's Hessian in the outputs."""
    parameters = {n: p.detach().double() for n, p in problem.model.named_parameters()}
    buffers = {n: b.double() if b.is_floating_point() else b for n, b in problem.model.named_buffers()}
    classes = torch.eye(10, dtype=torch.float64)

    def of_sample(x: Tensor) -> Tensor:
        outputs, pull = vjp(lambda p: functional_call(problem.model, {**p, **buffers}, (x[None],))[0], parameters)
        p = outputs.softmax(0)
        roots = p.sqrt()[:, None] * (classes - p)
        (rows,) = vmap(pull)(roots)
        return sum(row.square().sum() for row in rows.values())  # type: ignore[return-value]

    return float(torch.stack([of_sample(x) for x in problem.x.double()]).mean())


Answer = tuple[Any, str]
Contender = Callable[[Problem], Answer]


def sharpscope_top(k: int, rtol: float) -> Contender:
    """Lanczos to a relative residual."""

    def run(problem: Problem) -> Answer:
        asked = {"hessian_top_eigenvalue": {"k": k}}
        found = measure(problem.model, problem.data, asked, rtol=rtol)["hessian_top_eigenvalue"]
        values = found.details["eigenvalues"]
        residual = max(r / v for r, v in zip(found.details["residuals"], values, strict=True))
        return values, f"residual {residual:.0e}, {found.details['products']} products"

    return run


def plain_top(k: int) -> Contender:
    """SciPy's implicitly restarted Lanczos on plain products."""

    def run(problem: Problem) -> Answer:
        plain = Plain(problem)
        values = eigsh(plain, k=k, which="LA", tol=1e-3, return_eigenvectors=False)
        return np.sort(values)[::-1], f"residual 1e-03, {plain.products} products"

    return run


def _linear_operator(problem: Problem) -> Any:
    from curvlinops import HessianLinearOperator

    parameters = {n: p for n, p in problem.model.named_parameters() if p.requires_grad}
    loss = nn.CrossEntropyLoss()
    try:
        return HessianLinearOperator(problem.model, loss, parameters, problem.data, check_deterministic=False)
    except (TypeError, AttributeError):
        listed = list(parameters.values())
        return HessianLinearOperator(problem.model, loss, listed, problem.data, check_deterministic=False)


def curvlinops_top(k: int) -> Contender:
    """The same on the products of curvlinops."""

    def run(problem: Problem) -> Answer:
        operator = _linear_operator(problem).to_scipy()
        values = eigsh(operator, k=k, which="LA", tol=1e-3, return_eigenvectors=False)
        return np.sort(values)[::-1], "residual 1e-03"

    return run


def _eigenthings(problem: Problem) -> Any:
    from hessian_eigenthings.loss_fns.standard import supervised_loss
    from hessian_eigenthings.operators import HessianOperator

    return HessianOperator(problem.model, problem.data, supervised_loss(nn.CrossEntropyLoss()))


def eigenthings_top(k: int) -> Contender:
    """20 Lanczos steps; its default for one eigenvalue stops after 2, far from the truth."""

    def run(problem: Problem) -> Answer:
        from hessian_eigenthings.algorithms.lanczos import lanczos

        found = lanczos(_eigenthings(problem), k=k, max_iter=20, which="LA", seed=0)
        return sorted(found.eigenvalues.tolist(), reverse=True), "20 products"

    return run


def pyhessian_top(k: int) -> Contender:
    """Power iteration to its default tolerance."""

    def run(problem: Problem) -> Answer:
        from pyhessian import hessian

        torch.manual_seed(0)
        computer = hessian(problem.model, nn.CrossEntropyLoss(), data=(problem.x, problem.y), cuda=False)
        values, _ = computer.eigenvalues(top_n=k)
        return values, "change 1e-03"

    return run


def sharpscope_trace(problem: Problem) -> Answer:
    """Exact where the network allows it, else by probes."""
    found = measure(problem.model, problem.data, ["hessian_trace"], rtol=TRACE_ERROR)["hessian_trace"]
    products = found.details.get("products")
    return found.value, "exact" if products is None else f"{found.stderr:.2g}, {products} products"


def sharpscope_probes(problem: Problem) -> Answer:
    """Deflated probes until the error is as small as asked."""
    with by_probes():
        return sharpscope_trace(problem)


def plain_trace(problem: Problem) -> Answer:
    """Hutchinson probes until the error is as small as asked, looked at after every eight."""
    plain = Plain(problem)
    generator = np.random.default_rng(0)
    draws: list[float] = []
    while len(draws) < 16 or (_stderr(draws) > TRACE_ERROR * abs(float(np.mean(draws))) and len(draws) < 400):
        for _ in range(8):
            signs = generator.choice(np.array([-1, 1], dtype=np.float32), plain.shape[0])
            draws.append(float(signs @ plain.matvec(signs)))
    return float(np.mean(draws)), f"{_stderr(draws):.2g}, {len(draws)} products"


def _stderr(draws: list[float]) -> float:
    return float(np.std(draws, ddof=1)) / math.sqrt(len(draws))


def pyhessian_trace(problem: Problem) -> Answer:
    """Hutchinson probes to its own tolerance, which is no error."""
    from pyhessian import hessian

    torch.manual_seed(0)
    draws = hessian(problem.model, nn.CrossEntropyLoss(), data=(problem.x, problem.y), cuda=False).trace()
    return float(np.mean(draws)), f"{_stderr(draws):.2g}, {len(draws)} products"


def curvlinops_trace(problem: Problem) -> Answer:
    """Hutchinson probes, which state no error."""
    from curvlinops import hutchinson_trace

    return float(hutchinson_trace(_linear_operator(problem), 32)), "none, 32 products"


def eigenthings_trace(problem: Problem) -> Answer:
    """Hutch++ with as many products."""
    from hessian_eigenthings.algorithms.trace import trace

    found = trace(_eigenthings(problem), num_matvecs=33, seed=0)
    return found.estimate, f"{found.stderr:.2g}, 33 products"


def sharpscope_density(problem: Problem) -> Answer:
    """Stochastic Lanczos quadrature."""
    asked = {"hessian_density": {"starts": STARTS, "steps": STEPS}}
    found = measure(problem.model, problem.data, asked)["hessian_density"]
    negative = found.details["negative"]
    return found.value, f"{found.stderr:.2g}; negative {negative['value']:.2f} ± {negative['stderr']:.2f}"


def eigenthings_density(problem: Problem) -> Answer:
    """The same, smoothed on a grid."""
    from hessian_eigenthings.algorithms.spectral_density import spectral_density

    spectral_density(_eigenthings(problem), num_runs=STARTS, lanczos_steps=STEPS, seed=0)
    return math.nan, "none"


def tops(k: int) -> dict[str, Contender]:
    """Return who finds the largest eigenvalues."""
    return {
        "sharpscope": sharpscope_top(k, 1e-3),
        "sharpscope, rtol=1e-2": sharpscope_top(k, 1e-2),
        "plain products + eigsh": plain_top(k),
        "curvlinops + eigsh": curvlinops_top(k),
        "hessian-eigenthings": eigenthings_top(k),
        "PyHessian": pyhessian_top(k),
    }


TRACES: dict[str, Contender] = {
    "sharpscope": sharpscope_trace,
    "sharpscope, probes": sharpscope_probes,
    "plain Hutchinson": plain_trace,
    "curvlinops": curvlinops_trace,
    "hessian-eigenthings": eigenthings_trace,
    "PyHessian": pyhessian_trace,
}
DENSITIES: dict[str, Contender] = {
    "sharpscope": sharpscope_density,
    "hessian-eigenthings": eigenthings_density,
}


def compare(problem: Problem, contenders: dict[str, Contender], error: Callable[[Any], str]) -> list[list[str]]:
    """Return a row a contender, each run in turn for some rounds: its error, what it states, its time and the ratio."""
    seconds: dict[str, list[float]] = {}
    told: dict[str, Answer] = {}
    for round_ in range(ROUNDS):
        for name, run in contenders.items():
            # The patient ones are slow enough to be timed once.
            if round_ and seconds.get(name, [math.inf])[0] > 20:
                continue
            start = time.process_time()
            try:
                told[name] = run(problem)
            except ImportError:
                continue
            seconds.setdefault(name, []).append(time.process_time() - start)
    first = float(np.median(seconds["sharpscope"]))
    rows = []
    for name, (value, stated) in told.items():
        taken = float(np.median(seconds[name]))
        rows.append([problem.label, name, error(value), stated, f"{taken:.2f} s", f"{taken / first:.2f}"])
    return rows


def main() -> None:
    """Print the tables."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(machine("curvlinops-for-pytorch", "PyHessian", "hessian-eigenthings", "scipy"))
    rows: dict[str, list[list[str]]] = {"Top eigenvalue": [], "Top five": [], "Trace": [], "Density": []}
    # Attention in the only form that can be differentiated twice, for all alike.
    with sdpa_kernel(SDPBackend.MATH):
        for problem in problems():
            true = reference(problem)

            def of_values(values: Any, true: Reference = true) -> str:
                known = np.asarray(values)
                return f"{np.abs(known / true.eigenvalues[: len(known)] - 1).max():.1e}"

            def of_trace(value: float, true: Reference = true) -> str:
                return "not told" if math.isnan(value) else f"{abs(value / true.trace - 1):.1%}"

            print(f"{problem.label}: eigenvalues {true.eigenvalues}, trace {true.trace:.5g} ± {true.stderr:.1g}")
            for title, contenders, error in (
                ("Top eigenvalue", tops(1), of_values),
                ("Top five", tops(5), of_values),
                ("Trace", TRACES, of_trace),
                ("Density", DENSITIES, of_trace),
            ):
                rows[title] += compare(problem, contenders, error)
                for row in rows[title][-len(contenders) :]:
                    print(title, *row, sep=" | ", flush=True)
    torch.set_num_threads(threads)
    for title, found in rows.items():
        table(title, ["network", "package", "relative error", "stated error", "time", "of ours"], found)
