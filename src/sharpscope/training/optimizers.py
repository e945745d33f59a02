"""The optimizers of ``torch.optim`` by name, their options checked before there is anything to optimize."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sharpscope.errors import SpecError
from sharpscope.registry import Registry

# Named in lower case; an optimizer is ``(parameters, lr, *, options) -> Optimizer``.
OPTIMIZERS: Registry = Registry("optimizer")

# LBFGS evaluates the loss as often as it likes, SparseAdam wants sparse gradients, Muon matrices: none of
# them can take the one step on one gradient that update steps ask for.
_UNFIT = {"LBFGS", "SparseAdam", "Muon"}


def _adapted(optimizer: type[Optimizer]) -> Callable[..., Optimizer]:
    """Return a maker of ``optimizer`` whose options are keyword-only, as registries read them."""

    def make(parameters: Iterable[nn.Parameter], lr: float, **options: Any) -> Optimizer:
        return optimizer(parameters, lr=lr, **options)  # type: ignore[call-arg]

    signature = inspect.signature(optimizer, eval_str=True)
    options = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name not in {"params", "lr"}
    ]
    make.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    make.__annotations__ = {option.name: option.annotation for option in options}
    make.__doc__ = f"``torch.optim.{optimizer.__name__}``."
    return make


for _name, _member in list(vars(torch.optim).items()):
    if isinstance(_member, type) and issubclass(_member, Optimizer) and _name not in {"Optimizer", *_UNFIT}:
        OPTIMIZERS.register(_name.lower())(_adapted(_member))


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    lr: float,
    options: Mapping[str, Any],
    spared: Callable[[nn.Parameter], bool] | None = None,
) -> Optimizer:
    """Return an optimizer of the parameters that want a gradient.

    On the CPU the fused step is taken where there is one, unless the options choose otherwise: the plain one
    spends more time between small tensors than on them.

    Args:
        name: A name in ``OPTIMIZERS``.
        parameters: Of the model.
        lr: The learning rate.
        options: Further arguments of the optimizer.
        spared: Tells the parameters that its weight decay leaves alone; None if there are none.

    Raises:
        SpecError: If an option is unknown or of the wrong type (``loc`` names it), or the optimizer refuses
            their values (``loc`` is empty).
    """
    entry = OPTIMIZERS[name]
    complete = entry.complete(options)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    on_cpu = all(parameter.device.type == "cpu" for parameter in trained)
    if on_cpu and "fused" in complete and not {"fused", "foreach", "differentiable"} & options.keys():
        complete["fused"] = True
    try:
        optimizer: Optimizer = entry(trained if spared is None else _grouped(trained, spared), lr, **complete)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpecError(f"optimizer '{name}' refuses its options: {error}") from None
    return optimizer


def follows_rate(make: Callable[[list[nn.Parameter]], Optimizer]) -> bool:
    """Return whether an optimizer takes no steps once its learning rate is zero.

    Args:
        make: Makes it for parameters.
    """
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones_like(weight)
    optimizer = make([weight])
    optimizer.step()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    # One that prepares its next step follows a step later.
    optimizer.step()
    before = weight.detach().clone()
    optimizer.step()
    return torch.equal(weight, before)


def norm_or_bias(parameter: nn.Parameter) -> bool:
    """Return whether a parameter has one dimension at most, as biases and scales and shifts of normalization have."""
    return parameter.ndim <= 1


def _grouped(parameters: Iterable[nn.Parameter], spared: Callable[[nn.Parameter], bool]) -> list[dict[str, Any]]:
    """Return parameters as groups for an optimizer, of which the second is not decayed."""
    groups: list[dict[str, Any]] = [{"params": []}, {"params": [], "weight_decay": 0.0}]
    for parameter in parameters:
        groups[spared(parameter)]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def before_step(optimizer: Optimizer, change: Callable[[Optimizer], None]) -> None:
    """Let an optimizer do something more at the beginning of each of its steps."""
    optimizer.register_step_pre_hook(lambda stepping, args, kwargs: change(stepping))


@torch.no_grad()
def clip(optimizer: Optimizer, *, limit: float) -> None:
    """Scale the gradient of all parameters together so that its norm is at most ``limit``."""
    torch.nn.utils.clip_grad_norm_((p for group in optimizer.param_groups for p in group["params"]), limit)


@torch.no_grad()
def decay(optimizer: Optimizer, *, coefficient: float, spared: Callable[[nn.Parameter], bool] | None = None) -> None:
    """Shrink every parameter that has a gradient, and is not spared, by the learning rate times a coefficient.

    Reference: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, as ``torch.optim.AdamW`` does.
    """
    for group in optimizer.param_groups:
        shrinking = [p for p in group["params"] if p.grad is not None and not (spared and spared(p))]
        if shrinking:
            torch._foreach_mul_(shrinking, 1 - group["lr"] * coefficient)
