"""A seal covers every bit of what it seals."""

from __future__ import annotations

import pytest

from sharpscope.store.documents import document
from sharpscope.store.seals import BrokenSeal, check_sealed, sealed_safetensors
from sharpscope.store.tables import to_parquet


@pytest.mark.parametrize(
    "content",
    [
        document({"schema": 3, "text": 'a "seal": "00000000000000000000000000000000" in a text', "value": 0.1}),
        sealed_safetensors(
            b"\x40\0\0\0\0\0\0\0" + b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'.ljust(64) + b"abc"
        ),
        to_parquet({"value": [1.0, 2.0]}, seal=True),
    ],
    ids=["json", "safetensors", "parquet"],
)
def test_a_seal_covers_every_bit(content):
    check_sealed(content)
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            with pytest.raises(BrokenSeal):
                check_sealed(bytes(damaged))
    for length in range(len(content)):
        with pytest.raises(BrokenSeal):
            check_sealed(content[:length])
