"""What is printed never decides whether work is done; the exit code tells the truth about both."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WORK = """
import sys
from sharpscope.streams import keep_writing, lost_output

keep_writing()
for line in range(20_000):
    print("out", line)
    print("err", line, file=sys.stderr)
open(sys.argv[1], "w").write(f"worked, lost: {lost_output()}")
"""


def shell(command: str, tmp_path) -> tuple[int, str, str]:
    (tmp_path / "work.py").write_text(WORK)
    ended = subprocess.run(
        ["bash", "-c", command.replace("WORK", f"{sys.executable} work.py done")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, (tmp_path / "done").read_text()


@pytest.mark.parametrize(
    ("command", "lost"),
    [
        ("WORK | head -1; exit ${PIPESTATUS[0]}", ""),
        ("WORK 2>&1 >/dev/null | head -1; exit ${PIPESTATUS[0]}", ""),
        ("WORK 2>&1 | head -2; exit ${PIPESTATUS[0]}", ""),
        ("WORK >&-", ""),
        ("WORK 2>&-", ""),
        ("WORK >&- 2>&- <&-", ""),
        pytest.param(
            "WORK >/dev/full 2>/dev/full",
            "No space left on device",
            marks=pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux"),  # noqa: PTH110
        ),
    ],
)
def test_work_goes_on_whatever_becomes_of_its_output(command, lost, tmp_path):
    code, _, done = shell(command, tmp_path)
    assert (code, done) == (0, f"worked, lost: {lost}")


def test_what_is_printed_into_a_closed_stream_goes_into_no_file(tmp_path):
    script = (
        "import os; from sharpscope.streams import keep_writing; keep_writing(); opened = open('file', 'w');"
        "print('printed', flush=True); os.write(1, b'written'); opened.close()"
    )
    subprocess.run(["bash", "-c", f'{sys.executable} -c "{script}" >&-'], cwd=tmp_path, check=True)
    assert (tmp_path / "file").read_text() == ""


def test_a_character_that_the_terminal_lacks_is_no_error(tmp_path):
    script = "from sharpscope.streams import keep_writing; keep_writing(); print('\\u0394 \\ud83d')"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert ended.stdout == b"\\u0394 \\ud83d\n"


def test_a_stream_that_must_not_block_is_waited_for(tmp_path):
    # A pipe holds 64 kB; the reader begins late.
    script = (
        "import os, sys; from sharpscope.streams import keep_writing; os.set_blocking(1, False); keep_writing();"
        "print('x' * 200_000)"
    )
    command = f'{sys.executable} -c "{script}" | (sleep 0.5; wc -c)'
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (ended.stdout.strip(), ended.stderr) == ("200001", "")
