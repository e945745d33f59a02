"""Decoding image files; needs Pillow, which the extra ``images`` installs."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np

from sharpscope.errors import DataError
from sharpscope.extras import optional

Background = Literal["white", "black"]

# Modes of Pillow whose values have one meaning in red, green and blue of 8 bits, transparency apart.
_COLOR = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "PA", "RGBA"})
# Formats whose gray images of 16 bits Pillow may read as 32-bit integers.
_SIXTEEN_BITS = frozenset({"PNG", "PPM"})
# The tags of TIFF that say how many bits a value has, and whether the largest is white.
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def decode(packed: bytes, where: str, size: int | None = None, background: Background | None = None) -> np.ndarray:
    """Return an image file as an array.

    Args:
        packed: The bytes of a PNG, JPEG or any other file that Pillow reads.
        where: What the file is called, for messages.
        size: The side of the square to bring it to: the shorter side is resized, the middle is kept. None keeps the
            image as it is.
        background: The color behind transparent places; an image that has such is refused when None.

    Returns:
        Color as uint8 ``[3, H, W]``.

    Raises:
        DataError: If it is no image, it is not known which color its values are, or Pillow is not installed.
    """
    pillow = _pillow("Image")
    try:
        with pillow.open(io.BytesIO(packed)) as image:
            return to_array(image, where, size, background)
    except DataError:
        raise
    # Pillow raises whatever its many readers do.
    except Exception as error:  # noqa: BLE001
        raise DataError(f"{where} is not an image or is damaged ({error}); get it again") from None


def to_array(image: Any, where: str, size: int | None = None, background: Background | None = None) -> np.ndarray:
    """Return a Pillow image as ``decode`` does, turned the way up that its file says."""
    frames = getattr(image, "n_frames", 1)
    # What else a file of this format holds is a preview or the depth of its first image.
    if frames > 1 and image.format != "MPO":
        raise DataError(f"{where} holds {frames} images, an animation or pages; give each image a file of its own")
    color = _in_color(_pillow("ImageOps").exif_transpose(image), image, where, background)
    if size is not None and color.size != (size, size):
        # The middle square first, so that nothing is resized only to be cut off.
        side, (width, height) = min(color.size), color.size
        left, top = (width - side) // 2, (height - side) // 2
        square = color.crop((left, top, left + side, top + side))
        color = square.resize((size, size), _pillow("Image").Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(color, np.uint8).transpose(2, 0, 1))


def _in_color(image: Any, file: Any, where: str, background: Background | None) -> Any:
    """Return an image in red, green and blue.

    Args:
        image: The image, the right way up.
        file: The image as it was opened, which knows its format.
        where: As of ``decode``.
        background: As of ``decode``.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_integers(image, file, where)
    if image.mode not in _COLOR:
        raise DataError(
            f"{where} has values of a kind whose range is not known (Pillow's mode {image.mode}); save it with 8 bits "
            "a channel"
        )
    palette = image.mode == "P" and image.palette.mode.endswith("A")
    if not (palette or image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info):
        return image.convert("RGB")
    layered = image.convert("RGBA")
    if layered.getchannel("A").getextrema()[0] == 255:
        return layered.convert("RGB")
    if background is None:
        raise DataError(
            f"{where} has transparent places, whose color depends on what is behind them; set the option 'background' "
            "to white or black"
        )
    pillow = _pillow("Image")
    return pillow.alpha_composite(pillow.new("RGBA", layered.size, background), layered).convert("RGB")


def _from_integers(image: Any, file: Any, where: str) -> Any:
    """Return a gray image of more than 8 bits in color: 0 stays black, and the largest value becomes white."""
    tags = getattr(file, "tag_v2", {})
    if image.mode == "I" and file.format not in _SIXTEEN_BITS:
        raise DataError(
            f"{where} has 32-bit or signed values, and which of them is white is not known; save it with 8 bits a "
            "channel"
        )
    values = np.asarray(image).astype(np.int64)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO or (values == image.info.get("transparency")).any():
        raise DataError(
            f"{where} has 16-bit values of which the smallest is white, or transparent places, which are not read; "
            "save it with 8 bits a channel"
        )
    largest = 2 ** tags.get(_BITS, (16,))[0] - 1
    eight = (values * 255 + largest // 2) // largest
    return _pillow("Image").fromarray(eight.astype(np.uint8)).convert("RGB")


def _pillow(module: str) -> Any:
    return optional(f"PIL.{module}", "images", "reading image files", DataError)
