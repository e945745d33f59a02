"""Every loss module has its own mean over all data, however these are cut, or is refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope import measure
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import SharpscopeError

SPLITS = ((12,), (3, 4, 5), (1,) * 12)
GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(12, 5, generator=GENERATOR, dtype=torch.float64)
INDICES = torch.tensor([0, 1, 2, 3, 2, 2, 0, 2, 1, 2, 0, 3])
VALUES = torch.randn(12, 4, generator=GENERATOR, dtype=torch.float64)
PROBABILITIES = VALUES.softmax(dim=1)
SIGNS = VALUES.sign()
SEVERAL = torch.tensor([[0, 2, -1, 1], [3, -1, 0, 0], [1, 2, 3, -1]]).repeat(4, 1)
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 7.0])
HOLES = INDICES.where(INDICES != 1, -100)

log_softmax = partial(torch.log_softmax, dim=1)
first = lambda f: f[:, :1]
alone = lambda f: f[:, 0]


class Subclass(nn.CrossEntropyLoss):
    """What a library may derive from PyTorch's loss."""


class Focal(nn.Module):
    """A loss of a user's own, with weights as a plain attribute and its own idea of a mean."""

    def __init__(self, reduction: str = "mean", mean: Callable[[Tensor, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.reduction = reduction
        self.weight = WEIGHT.double()
        self.mean = mean or (lambda losses, y: losses.sum() / self.weight[y].sum())

    def forward(self, f: Tensor, y: Tensor) -> Tensor:
        log_p = F.log_softmax(f, dim=1).gather(1, y[:, None])[:, 0]
        losses = -self.weight[y] * (1 - log_p.exp()).square() * log_p
        return losses if self.reduction == "none" else self.mean(losses, y)


def linear_cross_entropy() -> nn.Module:
    """Return a loss with a layer of its own, where this PyTorch has it."""
    torch.manual_seed(1)
    kind = getattr(nn, "LinearCrossEntropyLoss", None)
    return Subclass() if kind is None else kind(4, 4, weight=WEIGHT, ignore_index=1)


# By name: the module, what makes its outputs of logits [N, 4], and the targets.
MEANT: dict[str, tuple[Any, Callable[[Tensor], Tensor], Tensor]] = {
    "cross entropy": (nn.CrossEntropyLoss(), torch.Tensor.clone, INDICES),
    "cross entropy, weight": (nn.CrossEntropyLoss(WEIGHT), torch.Tensor.clone, INDICES),
    "cross entropy, -100": (nn.CrossEntropyLoss(), torch.Tensor.clone, HOLES),
    "cross entropy, -1": (nn.CrossEntropyLoss(ignore_index=-1), torch.Tensor.clone, INDICES - 1),
    "cross entropy, all": (
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.2, ignore_index=2),
        torch.Tensor.clone,
        INDICES,
    ),
    "cross entropy, probabilities": (
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.2),
        torch.Tensor.clone,
        PROBABILITIES,
    ),
    "linear cross entropy": (linear_cross_entropy(), torch.Tensor.clone, INDICES),
    "subclass": (Subclass(), torch.Tensor.clone, INDICES),
    "subclass, weight": (Subclass(WEIGHT), torch.Tensor.clone, INDICES),
    "subclass, ignore_index": (Subclass(ignore_index=2), torch.Tensor.clone, INDICES),
    "subclass, all": (Subclass(WEIGHT, label_smoothing=0.2, ignore_index=2), torch.Tensor.clone, INDICES),
    "subclass, one-hot": (Subclass(WEIGHT), torch.Tensor.clone, F.one_hot(INDICES).double()),
    "nll": (nn.NLLLoss(), log_softmax, INDICES),
    "nll, weight": (nn.NLLLoss(WEIGHT), log_softmax, INDICES),
    "nll, ignore_index": (nn.NLLLoss(ignore_index=2), log_softmax, INDICES),
    "nll, -100": (nn.NLLLoss(WEIGHT), log_softmax, HOLES),
    "nll, int32": (nn.NLLLoss(), log_softmax, INDICES.int()),
    "bce": (nn.BCELoss(), torch.sigmoid, PROBABILITIES),
    "bce, weight": (nn.BCELoss(WEIGHT), torch.sigmoid, PROBABILITIES),
    "bce logits": (nn.BCEWithLogitsLoss(WEIGHT, pos_weight=WEIGHT), torch.Tensor.clone, PROBABILITIES),
    "bce logits, integers": (nn.BCEWithLogitsLoss(), torch.Tensor.clone, F.one_hot(INDICES)),
    "bce logits, bool": (nn.BCEWithLogitsLoss(), torch.Tensor.clone, F.one_hot(INDICES).bool()),
    "bce logits, [B]": (nn.BCEWithLogitsLoss(), alone, INDICES % 2),
    "bce logits, [B, 1]": (nn.BCEWithLogitsLoss(), first, VALUES[:, :1].sigmoid()),
    "bce logits, [B, 1] and [B]": (nn.BCEWithLogitsLoss(), first, INDICES % 2),
    "l1": (nn.L1Loss(), torch.Tensor.clone, VALUES),
    "l1, [B]": (nn.L1Loss(), alone, VALUES[:, 0]),
    "mse": (nn.MSELoss(), torch.Tensor.clone, VALUES.float()),
    "mse, [B]": (nn.MSELoss(), alone, VALUES[:, 0]),
    "smooth l1": (nn.SmoothL1Loss(beta=0.3), torch.Tensor.clone, VALUES),
    "huber": (nn.HuberLoss(delta=0.3), torch.Tensor.clone, VALUES),
    "huber, [B]": (nn.HuberLoss(), alone, VALUES[:, 0]),
    "kl, mean": (nn.KLDivLoss(reduction="mean"), log_softmax, PROBABILITIES),
    "kl, batchmean": (nn.KLDivLoss(reduction="batchmean"), log_softmax, PROBABILITIES),
    "kl, log": (nn.KLDivLoss(reduction="batchmean", log_target=True), log_softmax, PROBABILITIES.log()),
    "poisson": (nn.PoissonNLLLoss(full=True), torch.Tensor.clone, INDICES[:, None].expand(-1, 4)),
    "poisson, rates": (nn.PoissonNLLLoss(log_input=False), F.softplus, VALUES.exp()),
    "hinge": (nn.HingeEmbeddingLoss(), torch.Tensor.clone, SIGNS),
    "soft margin": (nn.SoftMarginLoss(), torch.Tensor.clone, SIGNS),
    "soft margin, [B]": (nn.SoftMarginLoss(), alone, SIGNS[:, 0]),
    "multi margin": (nn.MultiMarginLoss(p=2, weight=WEIGHT), torch.Tensor.clone, INDICES),
    "multi label margin": (nn.MultiLabelMarginLoss(), torch.Tensor.clone, SEVERAL),
    "multi label soft margin": (
        nn.MultiLabelSoftMarginLoss(WEIGHT),
        torch.Tensor.clone,
        F.one_hot(INDICES),
    ),
    "own, weighted": (Focal(), torch.Tensor.clone, INDICES),
    "own, plain": (Focal(mean=lambda losses, y: losses.mean()), torch.Tensor.clone, INDICES),
    "own, over kept": (Focal(mean=lambda losses, y: losses.sum() / (y != 2).sum()), torch.Tensor.clone, INDICES),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(5, 4).double()


def data(targets: Tensor, split: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(X.split(split), targets.split(split), strict=True))


def real(module: Any, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the module's own mean over all samples in float64."""
    if outputs.shape != targets.shape and outputs.shape == (12, 1):
        outputs = outputs.squeeze(1)
    if targets.is_floating_point():
        return module.double()(outputs, targets.to(outputs))
    try:
        return module.double()(outputs, targets.long())
    except (RuntimeError, ValueError):
        return module.double()(outputs, targets.to(outputs))


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("name", MEANT)
def test_the_risk_is_the_mean_of_the_module_over_all_samples(name: str, split: tuple[int, ...]) -> None:
    module, link, targets = MEANT[name]
    model = network()
    mean = real(module, link(model(X)), targets)
    gradients = torch.autograd.grad(mean, list(model.parameters()))
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    risk = Risk(model, Batches(data(targets, split)), loss=module, forward=lambda m, x: link(m(x)))
    with risk:
        total = sum(float(risk.losses(risk.outputs(b), b.targets).sum()) for b in risk)
    assert total / 12 == pytest.approx(float(mean.detach()), rel=1e-9)
    if len(split) < 12:
        found = measure(model, data(targets, split), ["gradient_norm"], loss=module, forward=lambda m, x: link(m(x)))
        assert found["gradient_norm"].value == pytest.approx(float(norm), rel=1e-9)


def test_every_loss_module_of_torch_is_in_the_table_or_refused() -> None:
    known = {type(module).__name__ for module, *_ in MEANT.values()} | {type(m).__name__ for m in REFUSED}
    rest = {"NLLLoss2d"}  # a deprecated name of another
    assert {name for name in dir(nn) if name.endswith("Loss")} - rest <= known


REFUSED = [
    nn.CTCLoss(),
    nn.CosineEmbeddingLoss(),
    nn.GaussianNLLLoss(),
    nn.MarginRankingLoss(),
    nn.TripletMarginLoss(),
    nn.TripletMarginWithDistanceLoss(),
    nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2, 4], div_value=1.0),
    nn.BCEWithLogitsLoss(torch.rand(12, 1)),
    nn.CrossEntropyLoss(reduction="sum"),
    nn.KLDivLoss(reduction="sum"),
    Focal(mean=lambda losses, y: losses.sum() / losses.detach().square().sum().sqrt()),
    Focal(mean=lambda losses, y: losses.sum() / len(y) ** 2),
    Focal(mean=lambda losses, y: losses),
    Focal(mean=lambda losses, y: losses.max()),
    Focal(mean=lambda losses, y: losses.topk(max(1, len(y) // 2)).values.mean()),
]


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("module", REFUSED, ids=lambda m: type(m).__name__)
def test_what_has_no_mean_of_single_samples_is_refused(module: nn.Module, split: tuple[int, ...]) -> None:
    with pytest.raises(SharpscopeError, match=r"^the loss|^the mean of the loss|^a loss must return") as caught:
        measure(network(), data(INDICES, split), ["gradient_norm"], loss=module)
    assert "\n" not in str(caught.value)


MIXING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "statistic": lambda f, y: (f - f.mean(dim=0)).square().sum(dim=1),
    "size": lambda f, y: F.cross_entropy(f, y, reduction="none") / len(f),
    "contrast": lambda f, y: F.cross_entropy(f @ f.T, torch.arange(len(f)), reduction="none"),
    "order": lambda f, y: F.cross_entropy(f, y, reduction="none") * torch.arange(1.0, 1 + len(f)),
}


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("name", MIXING)
def test_a_loss_that_mixes_samples_is_refused(name: str, split: tuple[int, ...]) -> None:
    with pytest.raises(SharpscopeError, match="depends on the other samples of its batch"):
        measure(network(), data(INDICES, split), ["gradient_norm"], loss=MIXING[name])


@pytest.mark.parametrize(
    "name", ["gradient_norm", "fisher_rao_norm", "relative_flatness", "hessian_trace", "ggn_trace"]
)
def test_a_loss_without_a_gradient_is_refused(name: str) -> None:
    accuracy = lambda f, y: (f.argmax(dim=1) == y).double()
    with pytest.raises(SharpscopeError, match="no gradient in the outputs"):
        measure(network(), (X, INDICES), [name], loss=accuracy)


def test_a_loss_without_a_gradient_has_values() -> None:
    wrong = lambda f, y: (f.argmax(dim=1) != y).double()
    assert measure(network(), (X, INDICES), {"sam_sharpness": {"rho": 5.0}}, loss=wrong)["sam_sharpness"].value > 0


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("weight", [WEIGHT, WEIGHT.double(), WEIGHT.bfloat16()], ids=lambda w: str(w.dtype))
def test_weights_that_a_function_holds_may_have_any_precision(weight: Tensor, split: tuple[int, ...]) -> None:
    weighted = lambda f, y: F.cross_entropy(f, y, weight, reduction="none")
    found = measure(network(), data(INDICES, split), ["gradient_norm"], loss=weighted)["gradient_norm"].value
    exact = lambda f, y: F.cross_entropy(f, y, WEIGHT.double(), reduction="none")
    assert found == measure(network(), data(INDICES, split), ["gradient_norm"], loss=exact)["gradient_norm"].value


@pytest.mark.parametrize("module", [True, False])
def test_what_a_loss_learns_is_taken_as_it_is(module: bool) -> None:
    class Tempered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(2.0))

        def forward(self, f: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(self.factor * f, y, reduction="none")

    own = Tempered()
    loss = own if module else lambda f, y: own(f, y)
    names = ["gradient_norm", "sam_sharpness"]
    found = measure(network(), (X, INDICES), names, loss=loss)
    expected = measure(network(), (X, INDICES), names, loss=lambda f, y: F.cross_entropy(2 * f, y, reduction="none"))
    assert [e.value for e in found.values()] == pytest.approx([e.value for e in expected.values()])
    assert own.factor.grad is None


def test_a_function_may_take_one_output_without_a_dimension_for_it() -> None:
    loss = lambda f, y: F.binary_cross_entropy_with_logits(f, y.double(), reduction="none")
    model = network()
    expected = F.binary_cross_entropy_with_logits(model(X)[:, 0], (INDICES % 2).double())
    norm = torch.cat([g.flatten() for g in torch.autograd.grad(expected, list(model.parameters()))]).norm()
    found = measure(model, (X, INDICES % 2), ["gradient_norm"], loss=loss, forward=lambda m, x: m(x)[:, 0])
    assert found["gradient_norm"].value == pytest.approx(float(norm))


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.2, ignore_index=2),
        Subclass(WEIGHT, label_smoothing=0.2, ignore_index=2),
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.2),
        nn.CrossEntropyLoss(WEIGHT),
    ],
)
@pytest.mark.parametrize("split", SPLITS[:2], ids=str)
def test_curvature_of_a_weighted_loss_equals_brute_force(loss: nn.CrossEntropyLoss, split: tuple[int, ...]) -> None:
    """G = sum_n J_n^T A_n J_n, A_n the block of sample n of the second derivative of PyTorch's own mean."""
    model = network()
    outputs = model(X).detach()
    mean = lambda f: F.cross_entropy(
        f, INDICES, WEIGHT.double(), label_smoothing=loss.label_smoothing, ignore_index=loss.ignore_index
    )
    blocks = torch.autograd.functional.hessian(mean, outputs)
    A = torch.stack([blocks[n, :, n] for n in range(12)])
    features = torch.cat([X, torch.ones(12, 1, dtype=X.dtype)], dim=1)
    G = torch.einsum("ncd,ni,nj->cidj", A, features, features).reshape(24, 24)
    measures = {"ggn_top_eigenvalue": {}, "ggn_trace": {}, "hessian_top_eigenvalue": {}}
    found = measure(model, data(INDICES, split), measures, loss=loss)
    top = float(torch.linalg.eigvalsh(G)[-1])
    assert found["ggn_top_eigenvalue"].value == pytest.approx(top, rel=1e-5)
    assert found["hessian_top_eigenvalue"].value == pytest.approx(top, rel=1e-5)  # the model is linear
    trace = found["ggn_trace"]
    assert abs(trace.value - float(G.trace())) <= 4 * trace.stderr + 1e-9


def test_default_measures_go_on_where_some_samples_do_not_count() -> None:
    with pytest.warns(UserWarning, match="margin: class indices must lie between 0 and 3"):
        found = measure(network(), (X, HOLES), loss=nn.CrossEntropyLoss())
    assert "gradient_norm" in found


def test_a_subset_has_the_mean_of_its_own_weights() -> None:
    found = measure(network(), (X.repeat(4, 1), INDICES.repeat(4)), ["gradient_norm"], loss=Subclass(WEIGHT), subset=40)
    assert found["gradient_norm"].samples == 40
    assert found["gradient_norm"].stderr > 0
