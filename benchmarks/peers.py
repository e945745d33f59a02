"""Top eigenvalue and trace against other packages: same network, data, precision and process.

Needs ``pip install curvlinops-for-pytorch pyhessian hessian-eigenthings==1.0.0a5``. Every contender gets the same
batches, with the channels in their usual order, as a user of it would have them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from benchmarks.problems import batches, digits, trained
from benchmarks.timing import machine, once, table
from sharpscope import measure

SAMPLES, SIZE, BATCH = 512, 28, 256


def main() -> None:
    """Print the tables; a package that is missing is said to be."""
    data = digits(SAMPLES, SIZE)
    model = trained("resnet8", data, epochs=40)
    cut = batches(data, BATCH)
    reference = measure(model, cut, {"hessian_top_eigenvalue": {"budget": 200}}, rtol=1e-5)["hessian_top_eigenvalue"]
    exact = measure(model, cut, {"hessian_trace": {"sketch": 16, "probes": 32}}, seed=1)["hessian_trace"]
    print(f"{machine('curvlinops-for-pytorch', 'PyHessian', 'hessian-eigenthings', 'scipy')}")
    print(f"reference: top eigenvalue {reference.value:.5f}, trace {exact.value:.3f} +- {exact.stderr:.3f}")
    values: list[list[str]] = []
    traces: list[list[str]] = []
    for name, top, trace in (
        ("sharpscope", sharpscope_top, sharpscope_trace),
        ("PyHessian", pyhessian_top, pyhessian_trace),
        ("curvlinops + eigsh, Hutchinson", curvlinops_top, curvlinops_trace),
        ("hessian-eigenthings", eigenthings_top, eigenthings_trace),
    ):
        try:
            seconds, (value, stated) = once(lambda top=top: top(model, cut))  # type: ignore[misc]
            error = abs(value / reference.value - 1)
            values.append([name, f"{value:.4f}", f"{error:.1e}", stated, f"{seconds:.1f} s"])
            print(values[-1], flush=True)
            seconds, (value, stated) = once(lambda trace=trace: trace(model, cut))  # type: ignore[misc]
            traces.append([name, f"{value:.2f}", f"{abs(value - exact.value):.2f}", stated, f"{seconds:.1f} s"])
            print(traces[-1], flush=True)
        except ImportError as error:
            print(f"{name}: {error}")
    header = ["package", "value", "relative error", "stated", "time"]
    table(f"Top eigenvalue, resnet8 on {SAMPLES} images of {SIZE}x{SIZE}", header, values)
    table("Trace", ["package", "value", "error", "stated", "time"], traces)


Cut = list[tuple[torch.Tensor, torch.Tensor]]


def sharpscope_top(model: nn.Module, cut: Cut) -> tuple[float, str]:
    """Block Lanczos to a relative residual of 1e-3."""
    found = measure(model, cut, ["hessian_top_eigenvalue"])["hessian_top_eigenvalue"]
    return found.value, f"± {found.stderr:.1g}, {found.details['products']} products"


def sharpscope_trace(model: nn.Module, cut: Cut) -> tuple[float, str]:
    """Deflated probes."""
    found = measure(model, cut, ["hessian_trace"])["hessian_trace"]
    return found.value, f"± {found.stderr:.2g}, {found.details['products']} products"


def pyhessian_top(model: nn.Module, cut: Cut) -> tuple[float, str]:
    """Power iteration to its default tolerance."""
    from pyhessian import hessian

    torch.manual_seed(0)
    values, _ = hessian(model, nn.CrossEntropyLoss(), dataloader=cut, cuda=False).eigenvalues()
    return values[0], "relative change 1e-3"


def pyhessian_trace(model: nn.Module, cut: Cut) -> tuple[float, str]:
    """Hutchinson probes to its default tolerance."""
    from pyhessian import hessian

    draws = hessian(model, nn.CrossEntropyLoss(), dataloader=cut, cuda=False).trace()
    return float(np.mean(draws)), f"± {np.std(draws, ddof=1) / np.sqrt(len(draws)):.2g}, {len(draws)} products"


def _linear_operator(model: nn.Module, cut: Cut) -> Any:
    from curvlinops import HessianLinearOperator

    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    try:
        return HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, cut, check_deterministic=False)
    except (TypeError, AttributeError):
        return HessianLinearOperator(
            model, nn.CrossEntropyLoss(), list(parameters.values()), cut, check_deterministic=False
        )


def curvlinops_top(model: nn.Module, cut: Cut) -> tuple[float, str]:
    """SciPy's implicitly restarted Lanczos to the same tolerance."""
    values = eigsh(_linear_operator(model, cut).to_scipy(), k=1, which="LA", tol=1e-3, return_eigenvectors=False)
    return float(values[0]), "tolerance 1e-3"


def curvlinops_trace(model: nn.Module, cut: Cut) -> tuple[float, str]:
    """Hutchinson probes, few, since each is slow: the time of more is in proportion."""
    from curvlinops import hutchinson_trace

    return float(hutchinson_trace(_linear_operator(model, cut), 8)), "no error stated, 8 products"


def _operator(model: nn.Module, cut: Cut) -> Any:
    from hessian_eigenthings.loss_fns.standard import supervised_loss
    from hessian_eigenthings.operators import HessianOperator

    return HessianOperator(model, cut, supervised_loss(nn.CrossEntropyLoss()))


def eigenthings_top(model: nn.Module, cut: Cut) -> tuple[float, str]:
    """20 Lanczos steps; its default for one eigenvalue stops after 2, far from the truth."""
    from hessian_eigenthings.algorithms.lanczos import lanczos

    found = lanczos(_operator(model, cut), k=1, max_iter=20, which="LA", seed=0)
    return float(found.eigenvalues[0]), "20 products"


def eigenthings_trace(model: nn.Module, cut: Cut) -> tuple[float, str]:
    """Hutch++ with few products, since each is slow: the time of more is in proportion."""
    from hessian_eigenthings.algorithms.trace import trace

    found = trace(_operator(model, cut), num_matvecs=12, seed=0)
    return found.estimate, f"± {found.stderr:.2g}, 12 products"
