"""Places where one may not write: by their rights, or on a file system that is read-only."""

import errno
import os

import pytest

from sharpscope.cli import run_command


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_place_where_one_may_not_write_is_the_mistake_of_the_command(number, tmp_path, monkeypatch, capsys):
    def refused(*_):
        raise OSError(number, os.strerror(number), str(tmp_path / "report.html"))

    monkeypatch.setattr("sharpscope.cli.report.write_all", refused)
    assert run_command(["report", str(tmp_path)]) == 2
    assert "report.html cannot be written; name another place with --out" in capsys.readouterr().err
    monkeypatch.setattr("sharpscope.cli.run.planned", refused)
    assert run_command(["run", "digits", "--out", str(tmp_path / "out")]) == 2
    assert f"Error: {os.strerror(number)}: {tmp_path / 'report.html'}" in capsys.readouterr().err
