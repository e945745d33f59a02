"""Archives that unpack to more than they should cost little."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest
from tests.data.archives import tar, zipped

from sharpscope.data.files import archives, idx
from sharpscope.data.files.archives import Zip, open_tar, tar_contents
from sharpscope.errors import DataError

BOMB = 20_000_000  # bytes of zeros, 20 kB as packed
LIMIT = 1_000_000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let bounds be those of small files, so that tests need no large ones."""
    monkeypatch.setattr(archives, "LARGEST", LIMIT)
    monkeypatch.setattr(idx, "LARGEST", LIMIT)


@pytest.fixture
def peak():
    """Tell the memory that was allocated at most until it is called."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def header(*sizes: int) -> bytes:
    return bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (header(10), "should unpack to 18 bytes for an array of shape \\(10,\\), got 19"),
        (header(2**32 - 1), "should unpack to 4294967303 bytes for an array of shape \\(4294967295,\\), got 1000001"),
        (b"\0\0\x08\xff", "should begin with the IDX magic number"),
        (b"", "should begin with the IDX magic number"),
    ],
)
def test_an_idx_file_is_unpacked_as_far_as_it_says(begin, message, tmp_path, peak):
    packed = gzip.compress(begin + bytes(BOMB))
    path = tmp_path / "labels.gz"
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match=message):
        idx.parse(idx.unpack(packed, path), 1, path)
    assert peak() < 5 * LIMIT


def bomb_of_a_member() -> bytes:
    member = tarfile.TarInfo("a/b")
    member.size = BOMB
    return member.tobuf() + bytes(BOMB) + bytes(1024)


def bomb_of_a_header(kind: bytes) -> bytes:
    extended = tarfile.TarInfo("header")
    extended.type, extended.size = kind, BOMB
    return extended.tobuf() + bytes(BOMB) + tarfile.TarInfo("a/b").tobuf() + bytes(1024)


@pytest.mark.parametrize(
    ("contents", "pack"),
    [
        (bomb_of_a_member(), gzip.compress),
        (bomb_of_a_member(), bz2.compress),
        (bomb_of_a_member(), lzma.compress),
        (bomb_of_a_header(tarfile.XHDTYPE), gzip.compress),
        (bomb_of_a_header(tarfile.XGLTYPE), gzip.compress),
        (bomb_of_a_header(tarfile.GNUTYPE_LONGNAME), gzip.compress),
    ],
    ids=["member", "bz2", "xz", "pax", "global pax", "long name"],
)
def test_a_tar_file_is_read_no_further_than_a_dataset_goes(contents, pack, tmp_path, peak):
    path = tmp_path / "set.tar.any"
    path.write_bytes(pack(contents))
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match=r"set.tar.any, a file of \d+ bytes, (asks for|goes on at byte) \d+"):
        tar_contents(path, ["a/b"])
    # The reader of xz needs 8 MB itself.
    assert peak() < BOMB / 1.5


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_other_tar_files_are_read_as_before(mode, tmp_path):
    files = {"a/b": b"some", "a/c": b"", "a/d": bytes(LIMIT // 2), "é" * 150: b"long name"}
    path = tar(tmp_path / "set.tar", files, mode)
    assert tar_contents(path, files) == files
    with open_tar(path) as members:
        assert {member.name: member.size for member in members} == {k: len(v) for k, v in files.items()}


def test_a_zip_member_gives_no_more_than_the_list_says(tmp_path, peak):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("whole", bytes(LIMIT))
        archive.writestr("large", bytes(BOMB))
    contents = path.read_bytes()
    # One that says that it is small, and has the checksum of what it says.
    lying = contents.replace(struct.pack("<I", BOMB), struct.pack("<I", 10))
    lying = lying.replace(struct.pack("<I", zlib.crc32(bytes(BOMB))), struct.pack("<I", zlib.crc32(bytes(10))))
    (tmp_path / "lying.zip").write_bytes(lying)
    tracemalloc.reset_peak()
    with Zip(path) as archive:
        assert archive.read("whole") == bytes(LIMIT)
        with pytest.raises(DataError, match=r"large in .* unpacks to 20000000 bytes"):
            archive.read("large")
    with Zip(tmp_path / "lying.zip") as archive:
        assert archive.read("large") == bytes(10)
    assert peak() < 8 * LIMIT


def test_damage_in_a_zip_member_is_told(tmp_path):
    path = zipped(tmp_path / "set.zip", {"a": b"contents"})
    path.write_bytes(path.read_bytes().replace(b"contents", b"contants"))
    with Zip(path) as archive, pytest.raises(DataError, match=r"a in .*set.zip is damaged"):
        archive.read("a")
