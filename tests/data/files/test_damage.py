"""A file with any byte of it damaged is refused in one sentence, or read."""

from __future__ import annotations

import numpy as np
import pytest
from tests.data.archives import npy, tar, zipped

from sharpscope.data.files.archives import Zip, open_tar
from sharpscope.data.files.arrays import mapped
from sharpscope.errors import DataError


def _of_a_zip(path):
    with Zip(path) as archive:
        for name in archive.names:
            archive.read(name)


def _of_a_tar(path):
    with open_tar(path) as members:
        for member in members:
            member.read()


def _of_an_array(path):
    mapped(path, 0, path.stat().st_size, "array")


def _made(kind, path):
    files = {f"folder/{number}.txt": b"some words " for number in range(2)}
    if kind == "npy":
        path.write_bytes(npy(np.zeros((3, 4), np.uint8)))
        return path
    return zipped(path, files) if kind == "zip" else tar(path, files, kind)


@pytest.mark.parametrize(
    ("kind", "read"), [("zip", _of_a_zip), ("w:gz", _of_a_tar), ("w:xz", _of_a_tar), ("npy", _of_an_array)]
)
def test_whatever_byte_is_damaged_the_file_is_refused_or_read(kind, read, tmp_path):
    path = _made(kind, tmp_path / "file")
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        for value in {0x00, 0xFF, whole[place] ^ 0x01}:
            path.write_bytes(whole[:place] + bytes((value,)) + whole[place + 1 :])
            try:
                read(path)
            except DataError:
                refused += 1
    assert refused


def test_a_zip_member_is_found_by_its_path_however_that_is_written(tmp_path):
    with Zip(zipped(tmp_path / "file", {"./folder/a.txt": b"a", "folder//b.txt": b"b"})) as archive:
        assert archive.names == {"folder/a.txt", "folder/b.txt"}
        assert (archive.read("folder/a.txt"), archive.read("folder/b.txt")) == (b"a", b"b")
