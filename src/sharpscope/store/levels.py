"""Matched train loss: the moments at which a training first had a given loss, and what is called after them.

Regimes end their training at different losses, and sharpness moves with the loss; so it is measured again where all
had the same. A level is such a loss; its name is the loss as a person writes it.
"""

from __future__ import annotations

# After how many steps of training a level was reached.
STEP = "step"


def level_name(loss: float) -> str:
    """Return the name of a level.

    >>> level_name(1.0), level_name(0.05), level_name(0.12345678)
    ('1', '0.05', '0.12345678')
    """
    short = f"{loss:g}"
    return short if float(short) == loss else repr(loss)


def column(key: str, level: str) -> str:
    """Return the column of the ledger that holds a quantity at a level.

    >>> column("relative_flatness", "0.1")
    'relative_flatness@0.1'
    """
    return f"{key}@{level}"


def weights_file(level: str) -> str:
    """Return the name of the file of the weights that a run had at a level."""
    return f"weights-at-{level}.safetensors"
