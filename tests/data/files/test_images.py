"""Images of every mode and format: each has the right values, or one sentence says why it has none."""

import io

import numpy as np
import pytest

from sharpscope.data.files.images import decode
from sharpscope.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="image files need Pillow")

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def packed(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gray(array, kind="PNG", **options):
    return packed(Image.fromarray(array), kind, **options)


def of_mode(mode, kind="PNG", **options):
    return packed(Image.fromarray(RAMP).convert(mode), kind, **options)


def palette(colors, kind="PNG", **options):
    """Return an image of 2x2 places whose colors come from a palette."""
    image = Image.new("P", (2, 2))
    image.putpalette([value for color in colors for value in color])
    image.putdata([0, 1, 2, 3])
    return packed(image, kind, **options)


def pgm(largest, values, letters=b"P5"):
    side = 2 if letters == b"P5" else 1
    kind = np.uint8 if largest < 256 else ">u2"
    return b"%s %d %d %d\n" % (letters, side, side, largest) + np.array(values, kind).tobytes()


WIDE = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
COLORS = [(0, 0, 0), (9, 50, 200), (255, 0, 0), (1, 2, 3)]
AT_COLORS = np.array(COLORS, np.uint8).reshape(2, 2, 3)
# 65535 = 257 * 255, so that a value of 16 bits is its 257th part in 8.
RIGHT = {
    "gray": (gray(RAMP), RAMP),
    "color": (gray(np.dstack([RAMP, RAMP // 2, RAMP // 4])), np.dstack([RAMP, RAMP // 2, RAMP // 4])),
    "black and white": (packed(Image.fromarray(RAMP > 99)), np.where(RAMP > 99, 255, 0)),
    "16 bits": (gray(WIDE), np.rint(WIDE / 257)),
    "16 bits, TIFF": (gray(WIDE, "TIFF"), np.rint(WIDE / 257)),
    "16 bits, TIFF, last byte first": (packed(Image.fromarray(WIDE.astype(">u2")), "TIFF"), np.rint(WIDE / 257)),
    "16 bits, all used": (gray(np.array([[0, 65535], [257, 128]], np.uint16)), [[0, 255], [1, 0]]),
    "16 bits, PGM": (pgm(65535, [0, 1000, 40000, 65535]), [[0, 4], [156, 255]]),
    "12 bits, PGM": (pgm(4095, [0, 1000, 2000, 4095]), [[0, 62], [125, 255]]),
    "4 bits, PGM": (pgm(15, [0, 5, 10, 15]), [[0, 85], [170, 255]]),
    "16 bits a channel, PPM": (pgm(65535, [0, 257, 65535], b"P6"), [[[0, 1, 255]]]),
    "palette": (palette(COLORS), AT_COLORS),
    "palette, GIF": (palette(COLORS, "GIF"), AT_COLORS),
    "opaque": (of_mode("RGBA"), RAMP),
    "opaque gray": (of_mode("LA"), RAMP),
    "a transparent color that no place has": (of_mode("L", transparency=3), RAMP),
    "16 bits with such a color": (gray(WIDE, transparency=3), np.rint(WIDE / 257)),
    "print colors": (of_mode("CMYK", "TIFF"), RAMP),
}


@pytest.mark.parametrize(("file", "expected"), RIGHT.values(), ids=RIGHT)
def test_values_are_those_of_the_image_in_8_bits(file, expected):
    expected = np.asarray(expected)
    color = expected if expected.ndim == 3 else np.dstack([expected] * 3)
    found = decode(file, "x.png")
    assert found.dtype == np.uint8
    assert found.tolist() == color.transpose(2, 0, 1).tolist()


def animation(kind):
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    return packed(frames[0], kind, save_all=True, append_images=frames[1:])


def white_is_zero():
    return gray(WIDE, "TIFF", tiffinfo={262: 0})


CUT = {f"{kind}, cut off": gray(np.dstack([RAMP] * 3), kind)[:-30] for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")}
NOT_AN_IMAGE = "x.png is not an image or is damaged .*; get it again"
REFUSED = {
    "floats": (gray(WIDE.astype(np.float32), "TIFF"), r"x.png has values of a kind .* \(Pillow's mode F\)"),
    "floats of [0, 1]": (gray((RAMP / 255).astype(np.float32), "TIFF"), "whose range is not known"),
    "32 bits": (gray(WIDE.astype(np.int32), "TIFF"), "x.png has 32-bit or signed values, and which of them is white"),
    "white is zero": (white_is_zero(), "16-bit values of which the smallest is white"),
    "16 bits with a transparent color": (gray(WIDE, transparency=1040), "or transparent places, which are not read"),
    "transparent": (packed(Image.new("RGBA", (8, 8), (1, 2, 3, 254))), "x.png has transparent places"),
    "transparent gray": (packed(Image.new("LA", (8, 8), (1, 0))), "x.png has transparent places"),
    "transparent color": (of_mode("L", transparency=4), "x.png has transparent places"),
    "transparent palette": (palette(COLORS, transparency=b"\xff\x00"), "x.png has transparent places"),
    "transparent palette, GIF": (palette(COLORS, "GIF", transparency=1), "x.png has transparent places"),
    "animation": (animation("GIF"), "x.png holds 2 images, an animation or pages"),
    "animated PNG": (animation("PNG"), "x.png holds 2 images, an animation or pages"),
    "pages": (animation("TIFF"), "x.png holds 2 images, an animation or pages"),
    "Lab": (packed(Image.new("LAB", (8, 8)), "TIFF"), "Pillow's mode LAB"),
    "text": (b"<html>", NOT_AN_IMAGE),
    "nothing": (b"", NOT_AN_IMAGE),
    **{name: (file, NOT_AN_IMAGE) for name, file in CUT.items()},
}


@pytest.mark.parametrize(("file", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_known_values_is_refused_with_its_name(file, message):
    with pytest.raises(DataError, match=message):
        decode(file, "x.png")


def test_the_first_image_of_a_camera_is_the_image():
    frames = [Image.new("L", (8, 8), value).convert("RGB") for value in (10, 200)]
    assert (decode(packed(frames[0], "MPO", save_all=True, append_images=frames[1:]), "x.jpg") == 10).all()


CORNERS = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
# What the reader of a photograph has to do to it, by the value of its tag.
TURNED = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.T,
    6: CORNERS[::-1].T,
    7: CORNERS[::-1, ::-1].T,
    8: CORNERS[:, ::-1].T,
}


@pytest.mark.parametrize(("orientation", "expected"), TURNED.items())
@pytest.mark.parametrize(("kind", "bits"), [("PNG", 8), ("PNG", 16), ("TIFF", 8), ("TIFF", 16), ("WEBP", 8)])
def test_images_are_turned_as_their_files_say(orientation, expected, kind, bits):
    exif = Image.Exif()
    exif[0x0112] = orientation
    array = CORNERS if bits == 8 else CORNERS.astype(np.uint16) * 257
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode(gray(array, kind, exif=exif, **options), "x")
    assert found[0].tolist() == expected.tolist()
