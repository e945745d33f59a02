"""Decoding image files; needs Pillow, which the extra ``images`` installs."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from sharpscope.errors import DataError
from sharpscope.extras import optional


def decode(packed: bytes, where: str, size: int | None = None) -> np.ndarray:
    """Return an image file as an array.

    Args:
        packed: The bytes of a PNG, JPEG or any other file that Pillow reads.
        where: What the file is called, for messages.
        size: The side of the square to bring it to: the shorter side is resized, the middle is kept. None keeps the
            image as it is.

    Returns:
        Color as uint8 ``[3, H, W]``.

    Raises:
        DataError: If it is no image, or Pillow is not installed.
    """
    pillow = _pillow()
    try:
        with pillow.open(io.BytesIO(packed)) as image:
            return to_array(image, size)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{where} is not an image or is damaged ({error}); get it again") from None


def to_array(image: Any, size: int | None = None) -> np.ndarray:
    """Return a Pillow image as ``decode`` does."""
    image = image.convert("RGB")
    if size is not None and image.size != (size, size):
        # The middle square first, so that nothing is resized only to be cut off.
        side, (width, height) = min(image.size), image.size
        left, top = (width - side) // 2, (height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        image = square.resize((size, size), _pillow().Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1))


def _pillow() -> Any:
    return optional("PIL.Image", "images", "reading image files", DataError)
