"""The tables of a study as files: CSV with every digit, LaTeX (booktabs) for a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.correlations import POOLED, WITHIN
from sharpscope.analysis.matched import closeness_table, with_ranges
from sharpscope.analysis.results import PAIR_COLUMNS, Quantity, StudyResults, by, describe_value, records, select, split

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


def regimes_latex(results: StudyResults, regimes: pd.DataFrame, comparisons: pd.DataFrame) -> bytes:
    """Return the means of every quantity (rows) in every regime (columns), significant differences in bold."""
    rows = []
    for group, part in split(regimes, results.keys):
        for name, of_quantity in part.groupby("quantity", sort=False):
            tests = by(select(comparisons, {**group, "quantity": name}), "regime")
            cells = []
            for row in records(of_quantity):
                text = escape(numbers.with_interval(row["mean"], row["ci_low"], row["ci_high"]))
                significant = tests.get(row["regime"], {}).get("significant", False)
                cells.append(rf"\textbf{{{text}}}" if significant else text)
            rows.append([*_group_cells(group), _name(results.quantities[str(name)]), *cells])
    header = [*map(escape, results.keys), "Quantity", *map(escape, results.regimes)]
    title = "Means over seeds with 95% bootstrap intervals; bold: differs from the reference after correction."
    return booktabs(header, rows, left=len(results.keys) + 1, title=title)


def comparisons_latex(results: StudyResults, comparisons: pd.DataFrame) -> bytes:
    """Return every difference to the reference with its test."""
    rows = [
        [
            *_group_cells({key: row[key] for key in results.keys}),
            _name(results.quantities[row["quantity"]]),
            escape(row["regime"]),
            escape(row["family"]),
            str(row["n"]),
            escape(numbers.with_interval(row["difference"], row["ci_low"], row["ci_high"], sign=True)),
            escape(numbers.fixed(row["effect"], 2, sign=True)),
            escape(numbers.p_value(row["p"])),
            escape(numbers.p_value(row["p_adjusted"])),
            escape(numbers.p_value(row["p_paper_adjusted"])),
        ]
        for row in records(comparisons)
    ]
    header = [*map(escape, results.keys), "Quantity", "Regime", "Family", "$n$", "Difference", "Effect"]
    header += ["$p$", r"$p_\mathrm{adj}$", r"$p_\mathrm{paper}$"]
    title = (
        "Differences to the reference (Hodges-Lehmann) with the 95% intervals that invert the two-sided exact tests."
    )
    return booktabs(header, rows, left=len(results.keys) + 3, title=title)


def correlations_latex(results: StudyResults, correlations: pd.DataFrame) -> bytes:
    """Return Spearman correlations, pooled and within regimes side by side."""
    rows = []
    for pair, part in split(correlations, ["measure", "quantity"]):
        pooled, within = (by(part, "scope")[scope] for scope in (POOLED, WITHIN))
        cells = [escape(numbers.correlation(r["spearman"], r["ci_low"], r["ci_high"])) for r in (pooled, within)]
        names = [_name(results.quantities[name]) for name in pair.values()]
        rows.append([*names, str(pooled["n"]), *cells])
    header = ["Measure", "Quantity", "$n$", r"$\rho$ pooled", r"$\rho$ within regimes"]
    return booktabs(header, rows, left=2, title="Spearman correlations over runs with 95% bootstrap intervals.")


def closeness_latex(results: StudyResults, closeness: pd.DataFrame) -> bytes:
    """Return how closely the runs match each train loss: steps until then, losses there and at the end."""
    rows = []
    for cell, part in split(closeness, [*results.keys, "level"]):
        told = zip(*(with_ranges(part, name) for name in ("step", "loss", "loss_at_end")), strict=True)
        for row, texts in zip(records(part), told, strict=True):
            labels = [*_group_cells(cell), escape(row["regime"]), f"{row['reached']} of {row['runs']}"]
            rows.append([*labels, *map(escape, texts)])
    header = [*map(escape, results.keys), "Level", "Regime", "Runs", "Steps", "Train loss there", "At the end"]
    title = "How closely the runs match each train loss: means over seeds, with the least and the greatest value."
    return booktabs(header, rows, left=len(results.keys) + 2, title=title)


def pairs_latex(results: StudyResults) -> bytes:
    """Return the scores of pairs summarized by cell: how many pairs, their mean and range."""
    keys = [key for key in results.keys if key in results.pairs.columns]
    rows = []
    for name in results.of_pairs:
        for cell, part in split(results.pairs.dropna(subset=[name]), [*keys, "regime"]):
            values = part[name]
            decimals = numbers.decimals_of(values.mean(), values.min(), values.max()) + 1
            shown = [numbers.fixed(v, decimals) for v in (values.mean(), values.min(), values.max())]
            labels = [*_group_cells({key: cell[key] for key in keys}), escape(cell["regime"])]
            rows.append([*labels, _name(results.quantities[name]), str(len(part)), *map(escape, shown)])
    header = [*map(escape, keys), "Regime", "Score", "Pairs", "Mean", "Min", "Max"]
    return booktabs(header, rows, left=len(keys) + 2, title="Scores of pairs; each unordered pair of seeds once.")


def table_files(
    results: StudyResults, regimes: pd.DataFrame, comparisons: pd.DataFrame, correlations: pd.DataFrame
) -> dict[str, bytes]:
    """Return every table by the name of its file."""
    pairs = results.pairs
    if pairs.empty:
        pairs = pd.DataFrame(columns=list(dict.fromkeys([*pairs.columns, *PAIR_COLUMNS])))
    closeness = closeness_table(results)
    matched = {
        "matched_loss.csv": to_csv(closeness),
        "matched_loss.tex": closeness_latex(results, closeness),
    }
    return {
        "regimes.csv": to_csv(regimes),
        "regimes.tex": regimes_latex(results, regimes, comparisons),
        "comparisons.csv": to_csv(comparisons),
        "comparisons.tex": comparisons_latex(results, comparisons),
        "correlations.csv": to_csv(correlations),
        "correlations.tex": correlations_latex(results, correlations),
        "pairs.csv": to_csv(pairs),
        "pairs.tex": pairs_latex(results),
        **(matched if results.levels else {}),
    }


def _name(quantity: Quantity) -> str:
    return escape(quantity.label) + (f" ${quantity.symbol}$" if quantity.symbol else "")


def _group_cells(group: dict[str, object]) -> list[str]:
    return [escape(describe_value(value)) for value in group.values()]
