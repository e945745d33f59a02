"""Text is made to fit in its place."""

import pytest

from sharpscope.analysis.drawing.lettering import shortened, width_of


@pytest.mark.parametrize("text", ["weight_decay+augmentation+sam(rho=0.05)", "WAVAWAVATo.Ty.", "iiiiMMMMiiii"])
def test_shortened_text_is_the_longest_that_fits(text):
    def keeping(kept):
        tail = 3 * kept // 8
        return text[: kept - tail] + "…" + text[len(text) - tail :]

    for room in range(1, int(width_of(text, 6))):
        fitting = [found for found in map(keeping, range(len(text))) if width_of(found, 6) <= room]
        assert shortened(text, room, 6) == (fitting[-1] if fitting else "…")
    assert shortened(text, width_of(text, 6), 6) == text
