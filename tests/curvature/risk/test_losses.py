"""Losses against autograd and PyTorch's own; targets that do not fit are refused."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope import measure
from sharpscope.curvature.risk.custom_losses import ModuleLoss, resolve_loss
from sharpscope.curvature.risk.losses import CrossEntropy, MeanSquaredError, ModifiedCrossEntropy, fisher_roots
from sharpscope.errors import SharpscopeError, UnknownName

OUTPUTS = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
INDICES = torch.tensor([0, 1, 2, 3, 0, 2])
VALUES = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "targets", "reference"),
    [
        ("cross_entropy", INDICES, lambda f, y: F.cross_entropy(f, y, reduction="none")),
        ("mse", VALUES, lambda f, y: F.mse_loss(f, y, reduction="none").mean(dim=1)),
        (nn.CrossEntropyLoss(label_smoothing=0.1), INDICES, nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")),
        (
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0])),
            INDICES,
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64), reduction="none"),
        ),
        (
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0]), label_smoothing=0.2, ignore_index=2),
            INDICES,
            nn.CrossEntropyLoss(
                weight=torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64),
                label_smoothing=0.2,
                ignore_index=2,
                reduction="none",
            ),
        ),
        (
            nn.BCEWithLogitsLoss(),
            VALUES.sigmoid(),
            lambda f, y: nn.BCEWithLogitsLoss(reduction="none")(f, y).mean(dim=1),
        ),
        (lambda f, y: f.pow(4).sum(dim=1), VALUES, lambda f, y: f.pow(4).sum(dim=1)),
        (lambda f, y: (f * y).sum(dim=1), VALUES, lambda f, y: (f * y).sum(dim=1)),
    ],
    ids=[
        "cross_entropy",
        "mse",
        "label_smoothing",
        "weight",
        "all",
        "elementwise",
        "callable",
        "callable without curvature",
    ],
)
def test_derivatives_are_those_of_autograd(loss: Any, targets: Tensor, reference: Any) -> None:
    found = resolve_loss(loss)
    if isinstance(found, ModuleLoss):
        found = found.fitted(lambda: (OUTPUTS, targets), [targets])
    torch.testing.assert_close(found.values(OUTPUTS, targets), reference(OUTPUTS, targets))

    def one(f: Tensor, y: Tensor) -> Tensor:
        return reference(f[None], y[None]).squeeze()

    pairs = list(zip(OUTPUTS, targets, strict=True))
    gradient = torch.stack([torch.func.grad(one)(f, y) for f, y in pairs])
    hessian = torch.stack([torch.autograd.functional.hessian(partial(one, y=y), f) for f, y in pairs])
    torch.testing.assert_close(found.gradient(OUTPUTS, targets), gradient)
    torch.testing.assert_close(found.hessian(OUTPUTS, targets), hessian)
    directions = VALUES.T
    along = torch.einsum("ck,bce,ek->bk", directions, hessian, directions)
    torch.testing.assert_close(found.curvature_along(OUTPUTS, targets, directions), along)
    trace = torch.einsum("bce,ce->b", hessian, directions @ directions.T)
    torch.testing.assert_close(found.curvature_trace(OUTPUTS, targets, directions @ directions.T), trace)
    products = torch.einsum("bce,be->bc", hessian, VALUES)
    torch.testing.assert_close(found.hessian_product(OUTPUTS, targets, VALUES), products)
    units, weights = found.curvature_directions(OUTPUTS, targets)
    torch.testing.assert_close(units.norm(dim=2), torch.ones_like(weights))
    torch.testing.assert_close(torch.einsum("br,brc,bre->bce", weights, units, units), hessian)


def test_roots_of_the_fisher_matrix_keep_their_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.cat([torch.randn(6, 5, generator=generator), torch.eye(5) * 80, torch.zeros(1, 5)]).double()
    S = fisher_roots(outputs)
    p = outputs.softmax(dim=1)
    expected = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    off = ~torch.eye(5, dtype=torch.bool)
    product = S @ S.mT
    torch.testing.assert_close(product[:, off], expected[:, off], rtol=1e-12, atol=0)
    rest = torch.stack([p[:, [d for d in range(5) if d != c]].sum(dim=1) for c in range(5)], dim=1)
    torch.testing.assert_close(product.diagonal(dim1=1, dim2=2), p * rest, rtol=1e-12, atol=0)
    assert S.shape == (12, 5, 4)


def test_directions_of_curvature_where_there_is_none_or_no_number() -> None:
    one, none = (t.shape for t in CrossEntropy().curvature_directions(OUTPUTS[:, :1], INDICES * 0))
    assert (one, none) == ((6, 0, 1), (6, 0))
    outputs = OUTPUTS.index_fill(0, torch.tensor(2), torch.nan)
    for loss, targets in (("cross_entropy", INDICES), (lambda f, y: f.pow(4).sum(dim=1), VALUES)):
        weights = resolve_loss(loss).curvature_directions(outputs, targets)[1]
        assert weights.isfinite().all(dim=1).tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize(
    ("module", "targets", "kind"),
    [
        (nn.CrossEntropyLoss(), INDICES, CrossEntropy),
        (nn.CrossEntropyLoss(ignore_index=7), INDICES, CrossEntropy),
        (nn.MSELoss(), VALUES, MeanSquaredError),
        (nn.CrossEntropyLoss(label_smoothing=0.1), INDICES, ModifiedCrossEntropy),
        (nn.CrossEntropyLoss(ignore_index=3), INDICES, ModifiedCrossEntropy),
        (nn.CrossEntropyLoss(), INDICES.where(INDICES != 1, -100), ModifiedCrossEntropy),
        (nn.CrossEntropyLoss(), VALUES.softmax(dim=1), ModifiedCrossEntropy),
        (nn.CrossEntropyLoss(reduction="none"), INDICES, ModifiedCrossEntropy),
    ],
)
def test_modules_of_torch_have_their_closed_forms(module: nn.Module, targets: Tensor, kind: type) -> None:
    assert type(resolve_loss(module).fitted(lambda: (OUTPUTS, targets), [targets])) is kind


@pytest.mark.parametrize(
    "module",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 7.0])),
        nn.CrossEntropyLoss(ignore_index=2),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 7.0]), label_smoothing=0.2, ignore_index=-1),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 3.0, 4.0])),
        nn.SmoothL1Loss(),
    ],
)
def test_the_risk_is_the_mean_of_the_module_over_all_samples(module: nn.Module) -> None:
    """PyTorch divides by the sum of weights; no cut into batches changes the value."""
    model = nn.Linear(4, 4).double()
    ignoring = isinstance(module, nn.CrossEntropyLoss)
    targets = INDICES.where(INDICES != 1, module.ignore_index) if ignoring else VALUES.sigmoid()
    gradients = torch.autograd.grad(module.double()(model(OUTPUTS), targets), list(model.parameters()))
    norm = float(torch.cat([g.flatten() for g in gradients]).norm())
    for cut in ([slice(0, 6)], [slice(0, 1), slice(1, 6)]):
        data = [(OUTPUTS[part], targets[part]) for part in cut]
        assert measure(model, data, ["gradient_norm"], loss=module)["gradient_norm"].value == pytest.approx(norm)


def test_the_users_module_stays_as_it_was() -> None:
    module = nn.CrossEntropyLoss(weight=torch.ones(4), label_smoothing=0.1)
    resolve_loss(module)
    assert module.reduction == "mean"
    assert module.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ("cross_entrpy", UnknownName, "callable.*did you mean 'cross_entropy'"),
        (3, SharpscopeError, "'cross_entropy', 'mse' or a callable, got int"),
        (nn.CrossEntropyLoss(reduction="sum"), SharpscopeError, "sums over samples.*reduction='mean'"),
    ],
)
def test_what_is_no_loss_is_refused(loss: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve_loss(loss)


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        ("cross_entropy", INDICES + 1, "between 0 and 3, since the model has 4 outputs; got indices from 1 to 4"),
        ("cross_entropy", INDICES - 100, "between 0 and 3"),
        ("cross_entropy", INDICES.double(), "one class index a sample.*float64"),
        ("cross_entropy", F.one_hot(INDICES), r"one class index a sample.*\(6, 4\)"),
        ("mse", INDICES, r"outputs' shape \(6, 4\), got \(6,\); class indices must be made one-hot"),
        (F.cross_entropy, INDICES, r"one value a sample, shape \(6,\), got \(\)"),
        (lambda f, y: F.mse_loss(f, f, reduction="none"), INDICES, r"got \(6, 4\); reduce over the outputs"),
        (lambda f, y: 0.0, INDICES, "got float"),
        (lambda f, y: F.cross_entropy(f, y, torch.ones(3), reduction="none"), INDICES, r"\(6, 4\) with targets of"),
        (nn.CrossEntropyLoss(torch.ones(3)), INDICES, "3 class weights and the model 4 outputs"),
        (nn.CrossEntropyLoss(ignore_index=0), INDICES * 0, "no sample any weight"),
    ],
)
@pytest.mark.parametrize("name", ["gradient_norm", "fisher_rao_norm", "relative_flatness"])
def test_unfit_targets_and_losses_are_refused(name: str, loss: Any, targets: Tensor, message: str) -> None:
    model = nn.Linear(4, 4).double()
    with pytest.raises(SharpscopeError, match=message):
        measure(model, (OUTPUTS, targets), [name], loss=loss)


def test_margin_refuses_indices_out_of_range_under_any_loss() -> None:
    with pytest.raises(SharpscopeError, match="between 0 and 3"):
        measure(nn.Linear(4, 4).double(), (OUTPUTS, INDICES + 9), ["margin"], loss=lambda f, y: f.sum(dim=1))
