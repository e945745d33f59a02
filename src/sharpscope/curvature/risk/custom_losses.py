"""Losses of the user's own, differentiated by autograd: functions, and loss modules with a mean of their own."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.curvature.risk.loss_forms import Form, forms_of
from sharpscope.curvature.risk.losses import (
    CrossEntropy,
    Evaluated,
    Loss,
    MeanSquaredError,
    ModifiedCrossEntropy,
    eigenvectors_of,
)
from sharpscope.curvature.risk.raw_data import told
from sharpscope.errors import SharpscopeError, UnknownName
from sharpscope.seeding import Stream

# The relative difference between losses that rounding may make, where a loss computes in float32 by itself.
_ROUNDING = 1e-5
# Outputs that are made up to ask a module for the weights of samples; the first give a clear answer nearly always.
_PROBES = 8
# Modules whose mean gives all samples the same weight, whatever their targets.
_EVEN = frozenset(
    {
        nn.BCELoss,
        nn.BCEWithLogitsLoss,
        nn.HingeEmbeddingLoss,
        nn.HuberLoss,
        nn.KLDivLoss,
        nn.L1Loss,
        nn.MultiLabelMarginLoss,
        nn.MultiLabelSoftMarginLoss,
        nn.MultiMarginLoss,
        nn.PoissonNLLLoss,
        nn.SmoothL1Loss,
        nn.SoftMarginLoss,
    }
)


class CallableLoss:
    """A loss of the user's own, differentiated by autograd in the outputs.

    Args:
        function: Maps outputs ``[B, C]`` and targets to losses ``[B]``, one a sample, without mixing samples. Where it
            takes no outputs ``[B, 1]``, no integer targets, or holds tensors in float32, it is called so that it can.
    """

    additive = True

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._function = function
        self._form: Form | None = None

    def fitted(self, look: Evaluated, every: Iterable[Tensor]) -> Loss:
        """Return the loss itself, having seen that it does not mix the samples of a batch."""
        found = copy.copy(self)
        found._form = None
        with torch.no_grad():
            found._check_unmixed(*look())
        return found

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what the function returns, checked to be one loss a sample."""
        if self._form is None:
            self._form = self._choose_form(outputs, targets)
        try:
            losses = self._losses(self._form, outputs, targets)
        except SharpscopeError:
            raise
        except Exception as error:
            raise self._failed(outputs, targets, error) from error
        if not _is_one_each(losses, outputs):
            raise self._misshapen(losses, outputs)
        losses = losses.reshape(-1)
        if torch.is_grad_enabled() and outputs.requires_grad and not losses.requires_grad:
            raise SharpscopeError(
                "the loss has no gradient in the outputs (an argmax, a comparison or detach in it?), so nothing can be "
                "derived from it; pass a loss that is differentiable in the outputs"
            )
        # What a loss holds may have gradients of its own, which nobody asks for.
        return losses if outputs.requires_grad else losses.detach()

    def _losses(self, form: Form, outputs: Tensor, targets: Tensor) -> Any:
        with form.calling(outputs):
            return self._function(*form.arguments(outputs, targets))

    def _choose_form(self, outputs: Tensor, targets: Tensor) -> Form:
        """Return the first form in which the loss can be called."""
        refusals: list[SharpscopeError] = []
        for form in forms_of(outputs, targets):
            with warnings.catch_warnings():
                # PyTorch warns of targets that are broadcast, which is then no form to be chosen.
                warnings.simplefilter("ignore")
                try:
                    losses = self._losses(form, outputs, targets)
                except SharpscopeError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever a function of the user's may raise
                    refusals.append(self._failed(outputs, targets, error))
                    continue
            if _is_one_each(losses, outputs):
                return form
            refusals.append(self._misshapen(losses, outputs))
        raise refusals[0]

    def _check_unmixed(self, outputs: Tensor, targets: Tensor) -> None:
        whole = self.values(outputs, targets)
        size = _ROUNDING * whole.nan_to_num(posinf=0.0, neginf=0.0).abs().max()
        for part in _halves(len(outputs)):
            try:
                alone = self.values(outputs[part], targets[part])
            except SharpscopeError as error:
                raise SharpscopeError(
                    f"the loss cannot be evaluated on a part of a batch, so it depends on how the data is cut: {error}"
                ) from error
            if not torch.allclose(alone, whole[part], rtol=_ROUNDING, atol=float(size), equal_nan=True):
                raise SharpscopeError(
                    "the loss of a sample depends on the other samples of its batch (a statistic of the batch, or a "
                    "division by its size?), so the risk would depend on how the data is cut; return one value a "
                    "sample that the others do not change"
                )

    def _failed(self, outputs: Tensor, targets: Tensor, error: Exception) -> SharpscopeError:
        return SharpscopeError(
            f"the loss failed on outputs of {outputs.dtype} and shape {tuple(outputs.shape)} with targets of "
            f"{targets.dtype} and shape {tuple(targets.shape)}: {told(error)}; pass a callable "
            "(outputs, targets) -> losses of single samples that takes these"
        )

    def _misshapen(self, losses: Any, outputs: Tensor) -> SharpscopeError:
        came = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        return SharpscopeError(
            f"a loss must return one value a sample, shape ({outputs.shape[0]},), got {came}; "
            "reduce over the outputs of a sample, not over the batch (reduction='none')"
        )

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient by one backward pass through the loss alone."""
        with torch.enable_grad():
            outputs = outputs.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.values(outputs, targets).sum(), outputs)
        return gradient

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the Hessian by C backward passes through the loss alone."""
        outputs, gradient = self._with_graph(outputs, targets)
        if not gradient.requires_grad:
            return outputs.new_zeros(*outputs.shape, outputs.shape[1])
        rows = [torch.autograd.grad(c, outputs, retain_graph=True)[0] for c in gradient.sum(dim=0)]
        return torch.stack(rows, dim=1)

    def hessian_product(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        """Return the products by one backward pass through the gradient of the loss alone."""
        outputs, gradient = self._with_graph(outputs, targets)
        if not gradient.requires_grad:
            return torch.zeros_like(vectors)
        (product,) = torch.autograd.grad(gradient, outputs, vectors.to(gradient))
        return product

    def curvature_trace(self, outputs: Tensor, targets: Tensor, gram: Tensor) -> Tensor:
        """Return the inner product of the explicit Hessian with ``gram``."""
        return torch.einsum("bce,ce->b", self.hessian(outputs, targets), gram)

    def curvature_along(self, outputs: Tensor, targets: Tensor, directions: Tensor) -> Tensor:
        """Return the quadratic forms of the explicit Hessian."""
        return torch.einsum("ck,bce,ek->bk", directions, self.hessian(outputs, targets), directions)

    def curvature_directions(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return eigenvectors and eigenvalues of the explicit Hessian, of whatever sign."""
        return eigenvectors_of(self.hessian(outputs, targets))

    def _with_graph(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs as a leaf, and the gradient in them with its graph."""
        with torch.enable_grad():
            outputs = outputs.detach().requires_grad_()
            total = self.values(outputs, targets).sum()
            (gradient,) = torch.autograd.grad(total, outputs, create_graph=True)
        return outputs, gradient


class ModuleLoss(CallableLoss):
    r"""A loss module with a mean of its own, :math:`\sum_n s_n / \sum_n w_n` with weights that its targets give.

    Its unreduced values are summed over the outputs of each sample to s. The weights follow from these sums and from
    the module's mean, on outputs that are made up; so no module need be known, and one whose mean is none of this form
    is refused.

    Args:
        module: With an attribute ``reduction``, which is neither "none" nor "sum".
    """

    def __init__(self, module: Any) -> None:
        self._mean = _in_float64(module)
        self._each = _in_float64(module)
        self._each.reduction = "none"
        self._even = type(module) in _EVEN
        self._name = type(module).__name__
        super().__init__(self._sums)

    def fitted(self, look: Evaluated, every: Iterable[Tensor]) -> Loss:
        """Return the loss whose plain mean over the samples is the mean of the module over them."""
        outputs, targets = look()
        super().fitted(lambda: (outputs, targets), every)
        self._check_weights(outputs, targets)
        if self._even:
            count, total, additive = len(targets), self._weight(outputs, targets), True
        else:
            count, total, additive = self._weigh(outputs, every)
        if not total > 0:
            raise SharpscopeError("the loss gives no sample any weight; check its class weights and ignore_index")
        return _Scaled(self, count / total, additive)

    def _check_weights(self, outputs: Tensor, targets: Tensor) -> None:
        """See that the weights are the same on the real outputs as on made-up ones."""
        weight = self._weight(outputs, targets)
        mean, losses = self._means(outputs, targets)
        off = abs(float(mean * weight - losses.sum()))
        if not (off <= _ROUNDING * float(losses.abs().sum()) or (weight == 0 and not bool(mean.isfinite()))):
            raise self._unlike()

    def _weigh(self, outputs: Tensor, every: Iterable[Tensor]) -> tuple[int, float, bool]:
        """Return the number of all samples, the sum of their weights, and whether these are all the same."""
        count, total, shares = 0, 0.0, []
        for targets in every:
            if len(targets):
                weight = self._weight(outputs, targets.to(outputs.device))
                shares.append(weight / len(targets))
                count, total = count + len(targets), total + weight
        mean = total / count
        return count, total, all(abs(share - mean) <= _ROUNDING * mean for share in shares)

    def _weight(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the sum of the weights of samples, seen to be the sum of those of its parts."""
        whole = self._probed(outputs, targets, 0)
        halves = [self._probed(outputs, targets[part], 1 + k) for k, part in enumerate(_halves(len(targets)))]
        if halves and abs(sum(halves) - whole) > _ROUNDING * abs(whole):
            raise self._unlike()
        return whole

    def _probed(self, outputs: Tensor, targets: Tensor, start: int) -> float:
        """Return the sum of weights that the module has on made-up outputs, others for each ``start``."""
        generator = Stream(start, "probe").torch(outputs.device)
        ignored = False
        for k in range(_PROBES):
            shape = (len(targets), *outputs.shape[1:])
            # Probabilities to begin with, as some modules want them, and losses of one sign, as others then have.
            draw = torch.rand if k < _PROBES // 2 else torch.randn
            probe = draw(shape, generator=generator, dtype=outputs.dtype, device=outputs.device)
            try:
                mean, losses = self._means(probe, targets)
            except SharpscopeError:
                if k == _PROBES - 1:
                    raise
                continue
            total, size = float(losses.sum()), float(losses.abs().sum())
            if bool(mean.isnan()) and size == 0:
                ignored = True
            elif abs(total) > 1e-3 * size > 0 and float(mean) != 0 and not bool(mean.isnan()):
                return total / float(mean)
        if ignored:
            return 0.0
        raise self._unlike()

    def _means(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of the module, and its losses of single samples."""
        with torch.no_grad(), warnings.catch_warnings():
            # Some modules warn of their own mean.
            warnings.simplefilter("ignore")
            losses = self.values(outputs, targets)
            assert self._form is not None
            with self._form.calling(outputs):
                mean = _following(self._mean, outputs)(*self._form.arguments(outputs, targets))
        if not isinstance(mean, Tensor) or mean.numel() != 1:
            raise self._unlike()
        return mean.reshape(()), losses

    def _sums(self, outputs: Tensor, targets: Tensor) -> Any:
        """Return the losses of single samples: sums over their outputs."""
        found = _following(self._each, outputs)(outputs, targets)
        each = isinstance(found, Tensor) and found.shape == outputs.shape and found.ndim > 1
        return found.flatten(1).sum(dim=1) if each else found

    def _unlike(self) -> SharpscopeError:
        return SharpscopeError(
            f"the mean of the loss {self._name} is no weighted mean of losses of single samples with weights that the "
            "targets give, so the risk would depend on how the data is cut; pass a callable (outputs, targets) -> "
            "losses of single samples"
        )


class _Scaled(CallableLoss):
    """The losses of single samples of a module, scaled so that their plain mean over some samples is its mean.

    Args:
        module: Whose.
        scale: The number of samples over the sum of their weights.
        additive: Whether all samples have the same weight.
    """

    def __init__(self, module: ModuleLoss, scale: float, additive: bool) -> None:
        super().__init__(lambda outputs, targets: scale * module.values(outputs, targets))
        self._module = module
        self.additive = additive

    def fitted(self, look: Evaluated, every: Iterable[Tensor]) -> Loss:
        """Return the loss for other samples, whose weights have another mean."""
        return self if self.additive else self._module.fitted(look, every)


def resolve_loss(loss: str | Callable[..., Any]) -> Loss:
    """Return the loss of that name, or the user's callable in the form that measures need.

    A loss module of ``torch.nn`` is taken sample by sample, reduced over the outputs of each, and in float64.

    Raises:
        UnknownName: If the name is none of ``cross_entropy`` and ``mse``.
        SharpscopeError: If it is neither a name nor callable, or a module that sums over samples.
    """
    known: dict[str, Loss] = {"cross_entropy": CrossEntropy(), "mse": MeanSquaredError()}
    if isinstance(loss, str):
        if loss not in known:
            raise UnknownName("loss", loss, known, where=" (or pass a callable (outputs, targets) -> losses)")
        return known[loss]
    if not callable(loss) or isinstance(loss, type):
        came = f"the class {loss.__name__}; make one of it" if isinstance(loss, type) else type(loss).__name__
        raise SharpscopeError(f"loss must be 'cross_entropy', 'mse' or a callable, got {came}")
    reduction = getattr(loss, "reduction", None)
    if reduction == "sum":
        raise SharpscopeError(
            f"the loss {type(loss).__name__} sums over samples, and the risk is a mean over them; "
            "make it with reduction='mean'"
        )
    if type(loss) is nn.MSELoss:
        return known["mse"]
    if type(loss) is nn.CrossEntropyLoss:
        return ModifiedCrossEntropy(
            loss.weight, loss.label_smoothing, loss.ignore_index, additive=loss.reduction == "none"
        )
    if isinstance(reduction, str) and reduction != "none":
        return ModuleLoss(loss)
    return CallableLoss(_mean_over_outputs(loss) if isinstance(loss, nn.Module) else loss)


def _mean_over_outputs(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a module without a mean as a function that reduces over the outputs of each sample only."""
    own = _in_float64(module)

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        found: Tensor = _following(own, outputs)(outputs, targets)
        each = isinstance(found, Tensor) and found.shape == outputs.shape and found.ndim > 1
        return found.flatten(1).mean(dim=1) if each else found

    return losses


def _in_float64(module: Any) -> Any:
    """Return a copy of a loss in float64, on the CPU, where every device's float64 can be."""
    try:
        module = copy.deepcopy(module)
    except Exception as error:
        raise SharpscopeError(
            f"the loss {type(module).__name__} cannot be copied, and it must stay as it is ({told(error)}); pass "
            "a callable (outputs, targets) -> losses of single samples"
        ) from error
    return module.cpu().double() if isinstance(module, nn.Module) else module


def _following(module: Any, outputs: Tensor) -> Any:
    """Return a loss with its tensors where the outputs are, in their precision."""
    return module.to(outputs) if isinstance(module, nn.Module) else module


def _is_one_each(losses: Any, outputs: Tensor) -> bool:
    size = outputs.shape[0]
    return isinstance(losses, Tensor) and losses.shape in ((size,), (size, 1))


def _halves(size: int) -> list[slice]:
    return [slice(0, size // 2), slice(size // 2, size)] if size > 1 else []
