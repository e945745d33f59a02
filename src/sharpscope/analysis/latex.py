"""Tables as files: CSV with every digit, LaTeX (booktabs and longtable) for a paper."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.results import Quantity
from sharpscope.errors import SharpscopeError
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
WIDTH = 397.0  # points: the text of a page of one column, 5.5 inches
_LETTER = 4.2  # points that a letter of footnotesize takes in the mean
_LEADING = 0.6  # the share of the width that leading columns may take
_LINE = 24  # letters, beyond which a cell is set in lines
_GAP = 3  # points on each side of a column
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


class LatexTable(bytes):
    """The source of a table, which can be written again with fewer columns.

    Attributes:
        header: Names of the columns.
        rows: The cells.
        left: How many leading columns are text, and stay.
        shows: What it is about.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int
    shows: str

    def only(self, columns: Sequence[str]) -> LatexTable:
        """Return the table with only some of its columns of numbers, in this order, by their names as printed.

        Raises:
            SharpscopeError: If it has no such column.
        """
        places = {plain_text(name): place for place, name in enumerate(self.header) if place >= self.left}
        for column in columns:
            if column not in places:
                raise SharpscopeError(f"no column is called '{column}' (known: {', '.join(places)})")
        kept = [*range(self.left), *(places[column] for column in columns)]
        rows = [[row[place] for place in kept] for row in self.rows]
        return booktabs([self.header[place] for place in kept], rows, left=self.left, title=self.shows)


def booktabs(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int, title: str) -> LatexTable:
    """Return a ``longtable`` that fits a page: it goes on over pages, and is in parts where it is too wide.

    Each part has the leading columns, and as many others as a text width of 5.5 inches has room for. Long texts are
    set in lines. It needs the packages array, booktabs and longtable.

    Args:
        header: Names of the columns, LaTeX already.
        rows: The cells, LaTeX already.
        left: How many leading columns are text; the others are numbers, set to the right.
        title: A comment for whoever opens the file.
    """
    most = [min(_LINE, int((_LEADING * WIDTH / left - 2 * _GAP) / _LETTER))] * left + [_LINE] * (len(header) - left)
    wanted = [max(map(_letters, column)) for column in zip(header, *rows, strict=True)]
    columns = [
        _Column(min(w, m), lines=w > m, text=i < left) for i, (w, m) in enumerate(zip(wanted, most, strict=True))
    ]
    lines = [
        f"% {title}",
        r"% \usepackage{array, booktabs, longtable}",
        rf"{{\footnotesize\setlength{{\tabcolsep}}{{{_GAP}pt}}",
    ]
    for places in _parts(columns, left):
        kinds = "".join(columns[place].kind for place in places)
        head, *body = (" & ".join(columns[i].broken(row[i]) for i in places) + r" \\" for row in (header, *rows))
        lines += [rf"\begin{{longtable}}{{{kinds}}}", r"\toprule", head, r"\midrule", r"\endhead"]
        lines += [r"\bottomrule", r"\endfoot", *body, r"\end{longtable}"]
    table = LatexTable("\n".join([*lines, "}", ""]).encode())
    table.header, table.rows, table.left, table.shows = tuple(header), tuple(map(tuple, rows)), left, title
    return table


@dataclass(frozen=True)
class _Column:
    """How a column is set.

    Attributes:
        letters: How many letters wide it is.
        lines: Whether it has wider cells, which are set in lines.
        text: Whether it is text, to the left.
    """

    letters: int
    lines: bool
    text: bool

    @property
    def width(self) -> float:
        """The points that it takes."""
        return _LETTER * self.letters + 2 * _GAP

    @property
    def kind(self) -> str:
        """The column as ``longtable`` is told it."""
        if not self.lines:
            return "l" if self.text else "r"
        side = "raggedright" if self.text else "raggedleft"
        return rf">{{\{side}\arraybackslash}}p{{{_LETTER * self.letters:g}pt}}"

    def broken(self, cell: str) -> str:
        """Return a cell of it, whose words may end a line where they are joined."""
        return re.sub(r"(\\_|\+)(?=\w)", r"\1\\allowbreak{}", cell) if self.lines else cell


def _parts(columns: Sequence[_Column], left: int) -> Iterator[list[int]]:
    """Yield the places of the columns of each part of a table."""
    leading = list(range(left))
    part = list(leading)
    for place in range(left, len(columns)):
        if len(part) > left and sum(columns[i].width for i in (*part, place)) > WIDTH:
            yield part
            part = list(leading)
        part.append(place)
    yield part


def _letters(cell: str) -> int:
    """Return how many letters wide a cell is about."""
    return len(plain_text(cell))


def plain_text(cell: str) -> str:
    r"""Return about what LaTeX prints of a cell.

    >>> plain_text(r"\textbf{12\% of $\times10^{-3}$}"), plain_text(r"a\_b")
    ('12% of x10-3', 'a_b')
    """
    text = re.sub(r"\\(?:textbf|emph|mathrm)(?=\{)", "", cell)
    text = re.sub(r"\\text\w+\{\}|\\(?:times|pm)(?![a-z])", "x", text)
    return re.sub(r"(?<!\\)[{}$^]|\\(?=[&%$#_{}])", "", text)


def name_of(quantity: Quantity) -> str:
    """Return the name of a quantity with its symbol."""
    return escape(quantity.label) + (f" ${quantity.symbol}$" if quantity.symbol else "")


def group_cells(group: dict[str, object]) -> list[str]:
    """Return the values of the varying keys, a cell each."""
    return [escape(value_text(value)) for value in group.values()]
