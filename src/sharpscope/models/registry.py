"""The registry of models, and the checks of shapes that its members share."""

from __future__ import annotations

from sharpscope.errors import SpecError
from sharpscope.registry import Registry

MODELS: Registry = Registry("model", package="sharpscope.models")


def image_shape(model: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return ``shape`` as (channels, height, width).

    Raises:
        SpecError: If it is not the shape of an image.
    """
    if len(shape) != 3:
        raise SpecError(
            f"the model '{model}' takes images of shape (channels, height, width), got {shape}; "
            "choose a model for vectors such as 'mlp'"
        )
    return shape[0], shape[1], shape[2]
