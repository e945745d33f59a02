"""Tables as files: they read back, and LaTeX prints what was meant."""

import io
import re
from dataclasses import replace

import pandas as pd
import pytest
from tests.analysis.conftest import FEW
from tests.pages import with_few

from sharpscope.analysis.latex import WIDTH, booktabs, escape, plain_text
from sharpscope.analysis.report import contents_of
from sharpscope.analysis.section import SECTIONS, Evidence
from sharpscope.errors import SharpscopeError


@pytest.fixture(scope="module")
def files(make_results):
    results = with_few(make_results(seeds=4, training__lr=[0.01, 0.1]), *FEW)
    everything = replace(results, study={**results.study, "sections": list(SECTIONS)})
    contents = contents_of(Evidence(everything))
    return {name: data for content in contents.values() for name, data in content.tables.items()}


def test_csv_reads_back_to_the_last_bit(make_results, files):
    results = make_results(seeds=4, training__lr=[0.01, 0.1])
    read = pd.read_csv(io.BytesIO(files["pairs.csv"]))
    pd.testing.assert_frame_equal(read, results.pairs, check_dtype=False, check_exact=True)


@pytest.mark.parametrize(
    "name",
    [
        *("levels", "sizes", "is_it_loss", "is_it_complexity", "contrasts", "comparisons", "correlations", "pairs"),
        "paper_tests",
    ],
)
def test_latex_has_as_many_cells_in_every_row_as_columns(files, name):
    text = files[f"{name}.tex"].decode()
    parts = re.findall(r"\\begin\{longtable\}\{([^\n]*)\}\n(.*?)\\end\{longtable\}", text, re.DOTALL)
    assert parts
    for kinds, body in parts:
        columns = re.findall(r"(?:>\{.*?\})?(?:[lr]|p\{.*?\})", kinds)
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns)}
        assert body.index(r"\endhead") < body.index(r"\endfoot") < body.index(rows[1])
    assert text.isascii() or "–" in text  # only the labels' own characters are left
    assert not re.search(r"(?<!\\)_(?![{\\])", text.replace(r"p_\mathrm", ""))


def widths(table):
    """Return the points that each part of a table takes, as one counts letters."""
    found = []
    for kinds, body in re.findall(r"\{longtable\}\{([^\n]*)\}\n(.*?)\\end", table.decode(), re.DOTALL):
        rows = [line[:-3].split(" & ") for line in body.splitlines() if line.endswith(r"\\")]
        columns = re.findall(r"(?:>\{.*?\})?([lr]|p\{.*?\})", kinds)
        longest = (max(len(plain_text(row[i])) for row in rows) for i in range(len(columns)))
        of_letters = (
            float(kind[2:-3]) if kind[0] == "p" else 4.2 * n for kind, n in zip(columns, longest, strict=True)
        )
        found.append(sum(of_letters) + 6 * len(columns))
    return found


def test_every_table_fits_a_page(files):
    for name, table in files.items():
        if name.endswith(".tex"):
            assert max(widths(table)) <= WIDTH, name


def test_a_table_that_is_too_wide_comes_in_parts_and_loses_nothing():
    header = ["Setting", "Quantity", *(f"level {k}" for k in range(9))]
    rows = [[r"training.lr = 0.1, training.batch\_size = 128", "a", *(f"{k}.25 [{k}.00, {k}.50]" for k in range(9))]]
    table = booktabs(header, rows, left=2, title="Nine levels.")
    assert len(widths(table)) > 1
    assert max(widths(table)) <= WIDTH
    text = table.decode()
    assert text.count("Quantity") == len(widths(table))
    assert all(text.count(cell) == 1 for cell in (*header[2:], *rows[0][2:]))
    few = table.only(["level 7", "level 2"])
    assert len(widths(few)) == 1
    assert "level 7 & level 2" in few.decode()
    assert "3.25" not in few.decode()
    with pytest.raises(SharpscopeError, match=r"no column is called 'level 9' \(known: level 0, level 1"):
        table.only(["level 9"])


def test_columns_are_chosen_by_the_names_that_are_printed(files):
    table = files["contrasts.tex"]
    chosen = table.only(["p_adj", "Difference"])
    assert chosen.header == (*table.header[: table.left], r"$p_\mathrm{adj}$", "Difference")
    assert len(chosen.rows) == len(table.rows)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("weight_decay", r"weight\_decay"),
        ("50% & more #1", r"50\% \& more \#1"),
        ("sam(rho=0.1)", "sam(rho=0.1)"),
        ("a\\b{c}", r"a\textbackslash{}b\{c\}"),
        ("−1.2×10⁻⁵", r"$-$1.2$\times10^{-5}$"),
        ("×1.13 [1.10, 1.15]", r"$\times$1.13 [1.10, 1.15]"),
        ("×1.2×10⁵", r"$\times$1.2$\times10^{5}$"),
        ("0.9 ± 0.1", r"0.9 $\pm$ 0.1"),
    ],
)
def test_escape(text, latex):
    assert escape(text) == latex
