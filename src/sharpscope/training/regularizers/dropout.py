"""Dropout of the features that the head sees, in a model that need not know of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from pydantic import Field
from torch import nn
from torch.nn import functional

from sharpscope.errors import HeadNotFound
from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES


@contextmanager
def dropping_features(model: nn.Module, *, probability: float) -> Iterator[None]:
    """Drop inputs of the last linear layer of a model for a block, while that layer is in train mode.

    Raises:
        HeadNotFound: If the model has no linear layer; when it is called, if the last one that it calls is another than
            the last one that it registers.
    """
    layers: dict[nn.Module, str] = {
        module: name for name, module in model.named_modules() if isinstance(module, nn.Linear)
    }
    if not layers:
        raise HeadNotFound("dropout is before the final linear layer, and the model has none; leave it out")
    head = list(layers)[-1]
    called: dict[str, nn.Module] = {"last": head}

    def drop(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (functional.dropout(inputs[0], probability, training=layer.training), *inputs[1:])

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        called["last"] = layer

    def check(model: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if called["last"] is not head:
            raise HeadNotFound(
                f"dropout is before the final linear layer, and the last one that the model calls, "
                f"'{layers[called['last']]}', is not the last one that it registers, '{layers[head]}'; register the "
                "final one last, or leave dropout out"
            )

    with ExitStack() as attached:
        attached.callback(head.register_forward_pre_hook(drop).remove)
        for layer in layers:
            attached.callback(layer.register_forward_hook(note).remove)
        attached.callback(model.register_forward_hook(check).remove)
        yield


@REGIMES.register()
def dropout(recipe: Recipe, *, probability: Annotated[float, Field(gt=0, lt=1)] = 0.5) -> Recipe:
    """Dropout of the features before the final linear layer, which the model must register last.

    Drawn anew for every pass, also for the two passes of a sharpness-aware step. Dropout elsewhere is an option of the
    models that have it.

    Args:
        recipe: The recipe to change.
        probability: Of a feature to be dropped.

    Reference: Srivastava et al., "Dropout", JMLR 2014.
    """
    attachment = partial(dropping_features, probability=probability)
    return replace(recipe, attachments=(*recipe.attachments, attachment))
