"""An interruption ends a command with its exit code, whatever Python makes of it."""

import signal
import subprocess
import sys

import pytest

BEGIN = """
import signal, sys, time
from sharpscope import interruption

class Careless:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
"""
END = """
sys.exit(interruption.guarded(command))
"""
TOLD = "Interrupted; what was done is kept"


def run(command: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN + command + END], capture_output=True, text=True, check=False, timeout=60
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        "def command():\n    signal.raise_signal(signal.SIGINT)",
        "def command():\n    Careless()\n    return 0",
        "def command():\n    Careless()\n    time.sleep(600)",
        "def command():\n    try:\n        signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n        raise RecursionError('of an import')",
    ],
    ids=["as usual", "lost in a finalizer", "lost before a long wait", "turned into an error"],
)
def test_an_interrupted_command_ends_as_interrupted(command):
    code, err = run(command)
    assert code == 130
    assert err.count(TOLD) == 1
    assert "Traceback" not in err


def test_an_interruption_that_was_caught_ends_what_goes_on():
    code, err = run(
        "interruption.CLEANUP_SECONDS = 0.2\ndef command():\n    try:\n        signal.raise_signal(signal.SIGINT)\n"
        "    except BaseException:\n        time.sleep(600)"
    )
    assert (code, err.count(TOLD)) == (130, 1)


def test_a_second_interruption_waits_for_nothing():
    code, err = run(
        "def command():\n    try:\n        signal.raise_signal(signal.SIGINT)\n"
        "    finally:\n        signal.raise_signal(signal.SIGINT)\n        print('late', file=sys.stderr)"
    )
    assert (code, err.count(TOLD)) == (130, 1)
    assert "late" not in err


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_command_that_is_not_interrupted_has_its_own_code(code):
    assert run(f"def command():\n    return {code}") == (code, "")


def test_what_was_printed_is_not_lost():
    command = "def command():\n    print('printed', file=sys.stdout)\n    signal.raise_signal(signal.SIGINT)"
    ended = subprocess.run([sys.executable, "-c", BEGIN + command + END], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (130, "printed\n")


def test_an_interruption_after_the_end_is_that_of_the_system():
    code, err = run("import atexit\natexit.register(signal.raise_signal, signal.SIGINT)\ndef command():\n    return 0")
    assert (code, err) == (-signal.SIGINT, "")
