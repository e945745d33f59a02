"""Is it complexity? What the page and the headline say of it on studies with planted truth."""

import io
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
from tests.analysis.conftest import with_twins
from tests.analysis.explanations.planted import (
    COMPLEXITY,
    FLATNESS,
    at_loss,
    moved,
    sharper,
    study,
    turned,
)
from tests.pages import section_of, words

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.explanations.complexity import (
    partial_table,
)
from sharpscope.analysis.findings import find
from sharpscope.analysis.results import Quantity


def test_what_is_all_loss_is_told_so():
    told = words(section_of("is_it_complexity", turned(study(1.0, 0.0, noise=0.3, seeds=16)))[0])
    assert "given the loss: no relation is seen there beside that with the loss." in told
    assert re.search(r"geometric complexity a further (0|<1)% \[0, \d\]", unescape(told))


def test_the_page_tells_it_in_both_orders():
    page, content = section_of("is_it_complexity", turned(study(1.0, 0.3)))
    told = words(page)
    number = r"[<>]?[\d.]+% \[[<>]?[\d.]+, [<>]?[\d.]+\]"
    sentence = (
        f"Loss explains {number} of the variation of log relative flatness over runs of one seed, geometric "
        f"complexity a further {number}, the regime a further {number}. The other way round, geometric complexity "
        f"explains {number}, loss a further {number}. After loss and regime, geometric complexity explains {number}."
    )
    assert re.search(sentence, unescape(told))
    assert page.count('<g class="lane"') == 1 + 3  # relations, and the shares of three predictors
    saved = pd.read_csv(io.BytesIO(content.tables["is_it_complexity.csv"]))
    assert len(saved) == 12
    assert b"Relative flatness & Geometric complexity &  & loss first & " in content.tables["is_it_complexity.tex"]


def headline(results):
    return find(results, contrasts_table(results), correlations_table(results)).headline


def test_the_headline_has_what_complexity_explains_first_and_last():
    results = sharper(turned(study(1.0, 0.3)))
    number = r"[<>]?[\d.]+% \[[<>]?[\d.]+, [<>]?[\d.]+\]"
    of = "Of the variation of relative flatness between runs of one seed"
    explains = f"geometric complexity explains {number}, and {number} beside loss and regime"
    assert re.search(rf" {of}, {explains}\.$", headline(results))
    there = {name: results.ledger[name] for name in (FLATNESS, COMPLEXITY, "train_loss")}
    assert re.search(rf" {of} at train loss 0\.1, {explains}\.$", headline(at_loss(results, **there)))
    assert "geometric complexity" not in headline(moved(results, (0.0, 0.0, 0.0)))
    assert "geometric complexity" not in headline(turned(study(0.0, 0.0, noise=1.0)))  # no sharpness differs


def test_the_figure_is_drawn():
    results = turned(study(seeds=6))
    same = {name: results.ledger[name] for name in (FLATNESS, COMPLEXITY, "train_loss")}
    _, content = section_of("is_it_complexity", with_twins(results, "calibrated", same))
    names = ("is_it_complexity", "is_it_complexity_shares")
    assert set(files_of(content.figures)) == {f"{name}.{kind}" for name in names for kind in ("pdf", "svg")}


def test_without_complexity_or_loss_there_is_no_such_section():
    results = study()
    for lost in (COMPLEXITY, "train_loss"):
        bare = replace(results, ledger=results.ledger.drop(columns=lost))
        page, content = section_of("is_it_complexity", bare)
        assert content.page is None
        assert "Is it complexity?" not in page


def test_complexity_that_the_regime_does_not_move_is_told_so_and_nothing_more():
    page, content = section_of("is_it_complexity", moved(study(1.0, 0.3), (0.0, 0.0, 0.0)))
    assert (
        "The regime is not seen to move geometric complexity at the end of training (none of 2 contrasts is "
        "significant): nothing more is said of it." in words(page)
    )
    assert "Loss explains" not in page
    assert 'class="lane"' not in page
    assert not files_of(content.figures)
    assert len(pd.read_csv(io.BytesIO(content.tables["is_it_complexity.csv"]))) == 12


def _staying(results, **unchanged_by):
    """A study that tells under which changes of a model its measures stay."""
    quantities = {n: replace(q, unchanged_by=unchanged_by.get(n)) for n, q in results.quantities.items()}
    return replace(results, quantities=quantities)


def test_complexity_is_set_against_sharpness_that_moves_with_it():
    results = turned(study(1.0, 0.3))
    marked = _staying(results, **{FLATNESS: ("a shift", "a scale"), COMPLEXITY: ("a scale",)})
    told = words(section_of("is_it_complexity", marked)[0])
    warning = (
        "Geometric complexity moves under a change that leaves predictions and relative flatness as they are (a shift)"
    )
    assert f"{warning}: read their relation with care." in told
    assert "Loss explains" in told
    same = results.ledger[COMPLEXITY]
    with_other = replace(
        marked,
        ledger=marked.ledger.assign(input_jacobian_norm=same),
        quantities={
            **marked.quantities,
            "input_jacobian_norm": Quantity(
                "input_jacobian_norm", "complexity", "Jacobian norm", scale="ratio", unchanged_by=("a shift", "a scale")
            ),
        },
    )
    page, content = section_of("is_it_complexity", with_other)
    assert f"{warning}: a measure of complexity that stays too is set against them instead." in words(page)
    assert words(page).count("Loss explains") == 1
    assert b"Geometric complexity" not in content.tables["is_it_complexity.tex"]
    assert "Jacobian norm" in page
    luck = np.random.default_rng(0).lognormal(size=len(same))
    unmoved = replace(with_other, ledger=with_other.ledger.assign(input_jacobian_norm=luck))
    told = words(section_of("is_it_complexity", unmoved)[0])
    assert f"{warning}: read their relation with care." in told  # the other one tells nothing here
    assert told.count("Loss explains") == 1


def test_cells_of_few_runs_have_shares_and_no_relations():
    results = study(1.0, 0.3, seeds=3)
    page, content = section_of("is_it_complexity", results)
    assert partial_table(results)["correlation"].isna().all()
    assert "There are too few seeds for intervals." in page
    assert "no cell has five runs that differ in all three" in words(page)
    assert "Whether the regime moves geometric complexity at the end of training cannot be tested with 3 seeds" in page
    assert set(files_of(content.figures)) == {"is_it_complexity_shares.pdf", "is_it_complexity_shares.svg"}
