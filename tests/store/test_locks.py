"""A lock keeps others out as long as its holder lives, and those who only look disturb nobody."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from sharpscope.store.locks import is_held, locked, presence

# Takes a lock, says so, and holds it until it is killed.
HOLDER = """
import sys, time
from pathlib import Path
from sharpscope.store.locks import locked, presence

with {take}:
    print("held", flush=True)
    time.sleep(600)
"""
# Long enough for a thread that is not kept waiting.
MOMENT = 0.3


@pytest.fixture(params=["with flock", "without flock"])
def any_system(request, monkeypatch) -> Iterator[None]:
    """A system that has shared locks, and one that has none."""
    if request.param == "without flock":
        monkeypatch.setitem(sys.modules, "fcntl", None)


def holder(take: str) -> subprocess.Popen[str]:
    """Start a process that holds a lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER.format(take=take)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_lock_keeps_others_out_until_its_block_ends(tmp_path):
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock") as second:
        assert first
        assert not second
    with locked(tmp_path / "lock") as third:
        assert third


def test_the_lock_of_a_process_that_is_killed_is_free(any_system, tmp_path):
    path = tmp_path / "lock"
    process = holder(f"locked(Path({str(path)!r}))")
    with locked(path) as held:
        assert not held
    assert is_held(path)
    kill(process)
    assert not is_held(path)
    with locked(path) as held:
        assert held


def test_to_look_whether_a_lock_is_held_makes_no_file_and_disturbs_nobody(any_system, tmp_path):
    path = tmp_path / "lock"
    assert not is_held(path)
    assert not path.exists()
    with locked(path) as held:
        assert held
        assert is_held(path)
    assert not is_held(path)


def test_only_the_first_of_several_is_alone(any_system, tmp_path):
    alone = []

    def present(number: int):
        return presence(tmp_path / "lock", lambda: alone.append(number))

    with present(1), present(2):
        pass
    first, second = present(3), present(4)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    # Who came first has left, and the second is still there.
    with present(5):
        pass
    second.__exit__(None, None, None)
    with present(6):
        pass
    assert alone == [1, 3, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_others_come_in_once_all_is_cleared(tmp_path):
    order = []

    def second() -> None:
        with presence(tmp_path / "lock", lambda: order.append("alone again")):
            order.append("second")

    other = threading.Thread(target=second)

    def clear() -> None:
        other.start()
        other.join(MOMENT)
        order.append("cleared")

    with presence(tmp_path / "lock", clear):
        other.join()
    assert order == ["cleared", "second"]


def test_a_process_that_is_killed_is_not_present(any_system, tmp_path):
    path, alone = tmp_path / "lock", []
    process = holder(f"presence(Path({str(path)!r}), lambda: None)")
    with presence(path, lambda: alone.append("before")):
        pass
    kill(process)
    with presence(path, lambda: alone.append("after")):
        pass
    assert alone == ["after"]
    assert list(tmp_path.iterdir()) == [path]
