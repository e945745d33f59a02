"""Tables as files: they read back, and LaTeX prints what was meant."""

import io
import re
from dataclasses import replace

import pandas as pd
import pytest
from tests.analysis.conftest import FEW
from tests.pages import with_few

from sharpscope.analysis.latex import escape
from sharpscope.analysis.report import contents_of
from sharpscope.analysis.section import SECTIONS, Evidence


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
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text).group(1)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) > 1
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns)}
    assert text.isascii() or "–" in text  # only the labels' own characters are left
    assert not re.search(r"(?<!\\)_(?![{\\])", text.replace(r"p_\mathrm", ""))


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
