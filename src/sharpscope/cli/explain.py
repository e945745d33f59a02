"""``sharpscope explain``: what a name means."""

from __future__ import annotations

from typing import Annotated

import typer


def explain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A measure, a score, a condition or a claim.")],
) -> None:
    """Explain a name: its definition, units, direction, invariances, cost, caveats, reference, or its predictions."""
    from sharpscope.study.planning.listing import explanation

    print(explanation(name))
