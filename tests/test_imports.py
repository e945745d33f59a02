"""What the package does without: other systems have no ``fcntl``, and its readers need no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

EVERY_MODULE = """
import importlib, pkgutil, sys

def import_all(*names):
    for name in names:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
            importlib.import_module(module.name)
"""

# All that the package needs is loaded first, as it has its own ways on other systems; then the package is loaded anew.
ELSEWHERE = """
import os, select, signal

import_all("sharpscope")
for name in [name for name in sys.modules if name.partition(".")[0] == "sharpscope"]:
    del sys.modules[name]
for name in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for module, names in {
    os: "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK fork forkpty getgid getuid geteuid killpg mkfifo nice "
    "register_at_fork sched_getaffinity setsid statvfs uname wait",
    signal: "ITIMER_REAL SIGALRM SIGHUP SIGKILL SIGUSR1 SIGUSR2 alarm pthread_kill setitimer",
    select: "epoll poll",
}.items():
    for name in names.split():
        delattr(module, name)
import_all("sharpscope")
"""

READER = """
class NoTorch:
    def find_spec(name, path, target=None):
        if name == "torch":
            raise ImportError("there is no torch here")

sys.meta_path.insert(0, NoTorch)
for package in ("store", "analysis", "safety", "spec", "registry"):
    import_all(f"sharpscope.{package}")
"""


def run(script: str) -> None:
    found = subprocess.run([sys.executable, "-c", EVERY_MODULE + script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has")
def test_every_module_is_imported_without_what_windows_does_not_have():
    run(ELSEWHERE)


def test_what_reads_and_tells_is_imported_without_torch():
    run(READER)
