"""``sharpscope explain``: what a name means."""

from __future__ import annotations

from typing import Annotated

import typer


def explain(name: Annotated[str, typer.Argument(metavar="NAME", help="A measure or a score.")]) -> None:
    """Explain a measure or score: definition, units, direction, invariances, cost, caveats, reference."""
    from sharpscope.study.listing import explanation

    print(explanation(name))
