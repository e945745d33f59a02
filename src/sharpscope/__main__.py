"""The command ``sharpscope``, also as ``python -m sharpscope``; says what it needs where the library alone is there."""

from __future__ import annotations

import sys

from sharpscope.errors import SharpscopeError
from sharpscope.extras import require_study


def main() -> None:
    """Run the command line; the entry point of the package."""
    try:
        require_study("the command sharpscope")
    except SharpscopeError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    from sharpscope import cli

    cli.main()


if __name__ == "__main__":
    main()
