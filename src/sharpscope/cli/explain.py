"""``sharpscope explain``: what a name means."""

from __future__ import annotations

from typing import Annotated

import typer


def explain(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A measure, score, regime, condition, dataset, model or claim.")
    ],
) -> None:
    """Explain a name: its definition, options, units, direction, invariances, cost, caveats, reference, predictions."""
    from sharpscope.study.planning.explaining import explanation

    print(explanation(name))
