"""The registry of models, and what its members share: checks of shapes, dropout as an option."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from sharpscope.errors import SpecError
from sharpscope.registry import Registry

# A model is ``(shape: tuple[int, ...], classes: int, *, options) -> nn.Module``; the shape is that of one sample:
# ``(C, H, W)`` of images, ``(D,)`` of features, ``(positions, symbols)`` of sequences.
MODELS: Registry = Registry("model", package="sharpscope.models", importable=True)

# Each layer is made, one after the other, before anything else can be seen of a model.
Depth = Annotated[int, Field(ge=1, le=1000)]
DropRate = Annotated[float, Field(ge=0.0, lt=1.0)]


def dropped(share: float) -> list[nn.Module]:
    """Return a layer of dropout, or none where nothing is dropped, so that other layers keep their numbers."""
    return [nn.Dropout(share)] if share > 0 else []


def image_shape(model: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return ``shape`` as (channels, height, width).

    Raises:
        SpecError: If it is not the shape of an image.
    """
    if len(shape) != 3:
        other = "sequences such as 'gpt'" if len(shape) == 2 else "vectors such as 'mlp'"
        raise SpecError(
            f"the model '{model}' takes images of shape (channels, height, width), got {shape}; "
            f"choose a model for {other}"
        )
    return shape[0], shape[1], shape[2]


def sequence_shape(model: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return ``shape`` as (positions, symbols).

    Raises:
        SpecError: If it is not the shape of a sequence of symbols.
    """
    if len(shape) != 2:
        raise SpecError(
            f"the model '{model}' takes symbols of shape (positions, vocabulary), got {shape}; "
            "choose a model for images or vectors such as 'mlp'"
        )
    return shape[0], shape[1]
