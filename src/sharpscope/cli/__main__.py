"""``python -m sharpscope.cli`` is ``sharpscope``."""

from __future__ import annotations

from sharpscope.cli import main

if __name__ == "__main__":
    main()
