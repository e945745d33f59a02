"""Run benchmarks by name, or all of them: ``python -m benchmarks closed_forms products``."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks
from benchmarks.timing import machine

TOOLS = {"__main__", "noises", "timing", "problems"}


def main(asked: list[str]) -> int:
    """Run the benchmarks asked for."""
    known = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in TOOLS]
    for name in asked:
        if name not in known:
            print(f"no benchmark is called '{name}' (known: {', '.join(known)})", file=sys.stderr)
            return 2
    print(machine())
    for name in asked or known:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
