"""Tables as files: CSV with every digit, LaTeX (booktabs) for a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.results import Quantity
from sharpscope.spec import value_text

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    numbers.MINUS: "$-$",
    numbers.MISSING: "--",
    "±": r"$\pm$",
    numbers.TIMES: r"$\times$",
}
_POWER = re.compile("×10([\u207b\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+)")
_PLAIN_DIGITS = str.maketrans("\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "-0123456789")


def to_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV, floats so that they read back to the last bit."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def escape(text: str) -> str:
    r"""Return text that LaTeX prints as it stands.

    >>> escape("a_b 5%"), escape("1.2×10⁻⁵")
    ('a\\_b 5\\%', '1.2$\\times10^{-5}$')
    """
    pieces = _POWER.split(str(text))
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = rf"$\times10^{{{piece.translate(_PLAIN_DIGITS)}}}$"
        else:
            pieces[i] = "".join(_SPECIAL.get(character, character) for character in piece)
    return "".join(pieces)


def booktabs(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int, title: str) -> bytes:
    """Return one ``tabular`` that needs the booktabs package; cells are LaTeX already.

    Args:
        header: Names of the columns.
        rows: The cells.
        left: How many leading columns are text; the others are numbers, set to the right.
        title: A comment for whoever opens the file.
    """
    lines = [
        f"% {title}",
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{'l' * left}{'r' * (len(header) - left)}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]
    return "\n".join(lines).encode()


def name_of(quantity: Quantity) -> str:
    """Return the name of a quantity with its symbol."""
    return escape(quantity.label) + (f" ${quantity.symbol}$" if quantity.symbol else "")


def group_cells(group: dict[str, object]) -> list[str]:
    """Return the values of the varying keys, a cell each."""
    return [escape(value_text(value)) for value in group.values()]
