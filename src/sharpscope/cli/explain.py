"""``sharpscope explain``: what a name means."""

from __future__ import annotations

from typing import Annotated

import typer


def explain(name: Annotated[str, typer.Argument(metavar="NAME", help="A measure, a score or a condition.")]) -> None:
    """Explain a measure, score or condition: definition, units, direction, invariances, cost, caveats, reference."""
    from sharpscope.study.planning.listing import explanation

    print(explanation(name))
