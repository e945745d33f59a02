"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from sharpscope.files import write_atomic


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_full_disk_leaves_what_stood_there(call, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_system_that_opens_no_folder_writes_whole_files_too(tmp_path, monkeypatch):
    def opens_no_folder(path, flags, *rest):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.delattr(os, "O_DIRECTORY")
    monkeypatch.setattr(os, "open", opens_no_folder)
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
