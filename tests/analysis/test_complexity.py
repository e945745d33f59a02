"""Is it complexity? On ledgers with planted truth: all loss, all complexity, both, none."""

import io
import math
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic, with_twins
from tests.pages import section_of, with_few, words

from sharpscope.analysis.complexity import (
    COMPLEXITY_FIRST,
    COMPLEXITY_LAST,
    LOSS_FIRST,
    MEAN,
    partial_table,
    variation_table,
)
from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.drawing import files_of
from sharpscope.analysis.findings import find
from sharpscope.analysis.manipulation import TREND, moves_table
from sharpscope.analysis.results import Quantity

FLATNESS, COMPLEXITY = "relative_flatness", "geometric_complexity"
FEW = (FLATNESS, COMPLEXITY, "train_loss", "ece", "test_accuracy")
WITH = "complexity, given loss"
WITH_LOSS = "loss, given complexity"


def study(on_loss=1.0, on_complexity=0.0, on_level=0.0, noise=0.3, seeds=10, **varying):
    """A study whose log sharpness is a planted sum; loss and complexity go together within cells and between them."""
    results = with_few(synthetic(regimes=("baseline", "sam", "augmentation"), seeds=seeds, **varying), *FEW)
    rng, ledger = np.random.default_rng(0), results.ledger.copy()
    size = len(ledger)
    level = ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0}).to_numpy()
    shared = rng.normal(size=size) + 0.5 * level
    loss, complexity = (shared + rng.normal(size=size) for _ in range(2))
    luck = 0.5 * rng.normal(size=seeds)[ledger["seed"]]
    sharp = on_loss * loss + on_complexity * complexity + on_level * level + noise * rng.normal(size=size) + luck
    ledger[["train_loss", COMPLEXITY, FLATNESS]] = np.exp(np.stack([loss, complexity, sharp], axis=1))
    ratios = (FLATNESS, COMPLEXITY, "train_loss")
    quantities = {n: replace(q, scale="ratio") if n in ratios else q for n, q in results.quantities.items()}
    primary = {**results.study, "primary": [FLATNESS, "ece"]}
    return replace(results, ledger=ledger, quantities=quantities, study=primary)


def turned(results):
    """A study whose regimes move complexity so much that no test overlooks it."""
    level = results.ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0})
    function = results.ledger[COMPLEXITY] * np.exp(6 * level)
    return replace(results, ledger=results.ledger.assign(**{COMPLEXITY: function}))


def shares(results, order=LOSS_FIRST, twin="", at="end"):
    table = variation_table(results)
    found = table[(table["order"] == order) & (table["twin"] == twin) & (table["at"] == at)]
    return found.set_index("predictor")


def partials(results, twin="", at="end", beside=""):
    table = partial_table(results)
    return table[(table["twin"] == twin) & (table["at"] == at) & (table["beside"] == beside)].set_index("relation")


@pytest.mark.parametrize(
    ("planted", "tells"),
    [
        ((1.0, 0.0), (False, True)),
        ((0.0, 1.0), (True, False)),
        ((1.0, 1.0), (True, True)),
        ((0.0, 0.0), (False, False)),
    ],
)
def test_the_relations_tell_what_was_planted(planted, tells):
    found = partials(study(*planted, noise=0.3, seeds=16))
    excludes = [bool(found.loc[relation, "ci_low"] > 0) for relation in (WITH, WITH_LOSS)]
    assert tuple(excludes) == tells


def test_all_loss():
    results = study(1.0, 0.0)
    first, second = (shares(results, order)["share"] for order in (LOSS_FIRST, COMPLEXITY_FIRST))
    assert first["loss"] > 0.9
    assert first["complexity"] < 0.02
    assert second["loss"] > 0.4
    assert first.sum() == pytest.approx(second.sum())


def test_what_is_all_loss_is_told_so():
    told = words(section_of("is_it_complexity", turned(study(1.0, 0.0, noise=0.3, seeds=16)))[0])
    assert "given the loss: no relation is seen there beside that with the loss." in told
    assert re.search(r"geometric complexity a further (0|<1)% \[0, \d\]", unescape(told))


def test_all_complexity():
    results = study(0.0, 1.0)
    first, second = (shares(results, order)["share"] for order in (LOSS_FIRST, COMPLEXITY_FIRST))
    assert second["complexity"] > 0.9
    assert second["loss"] < 0.02
    assert first["complexity"] > 0.4


def test_both():
    results = study(1.0, 1.0)
    for order, then in ((LOSS_FIRST, "complexity"), (COMPLEXITY_FIRST, "loss")):
        found = shares(results, order)
        assert found.loc[then, "ci_low"] > 0.05
    mean = shares(results, MEAN)["share"]
    assert mean["loss"] == pytest.approx(mean["complexity"], abs=0.2)


def test_none():
    found = shares(study(0.0, 0.0, noise=1.0))
    assert (found["share"] < 0.2).all()
    assert (found["ci_low"] < 0).all()


def test_what_the_level_adds_is_its_own():
    found = shares(study(1.0, 0.0, on_level=2.0))
    assert found.loc["level", "ci_low"] > 0.1
    assert shares(study(1.0, 0.0)).loc["level", "ci_low"] < 0.001


def test_shares_are_those_of_least_squares_on_logarithms():
    results = study(1.0, 1.0)
    ledger = results.ledger
    y, loss, complexity = np.log(ledger[[FLATNESS, "train_loss", COMPLEXITY]].to_numpy()).T
    seeds, levels = (pd.get_dummies(ledger[name]).to_numpy(float) for name in ("seed", "regime"))

    def left(*columns):
        x = np.column_stack([seeds, *columns])
        beta, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
        return np.sum((y - x @ beta) ** 2) / (len(y) - rank)

    steps = [left(), left(loss), left(loss, complexity), left(loss, complexity, levels)]
    wanted = -np.diff(steps) / steps[0]
    assert shares(results)["share"].to_numpy() == pytest.approx(wanted)


def test_relations_are_the_mean_of_partial_coefficients_within_cells():
    results = study(1.0, 1.0)

    def partial(rows):
        of = [stats.spearmanr(rows[a], rows[b]).statistic for a, b in pairs]
        return (of[0] - of[1] * of[2]) / np.sqrt((1 - of[1] ** 2) * (1 - of[2] ** 2))

    pairs = [(FLATNESS, COMPLEXITY), (FLATNESS, "train_loss"), (COMPLEXITY, "train_loss")]
    wanted = np.mean([partial(rows) for _, rows in results.ledger.groupby("regime")])
    found = partials(results).loc[WITH]
    assert found["spearman"] == pytest.approx(wanted)
    assert (found["n"], found["cells"]) == (30, 3)


def test_settings_are_apart():
    results = study(1.0, 0.0, training__lr=[0.1, 0.2])
    moved = results.ledger.copy()
    moved.loc[moved["training.lr"] == 0.2, FLATNESS] *= 1000
    same = [shares(one)["share"].to_numpy() for one in (results, replace(results, ledger=moved))]
    np.testing.assert_allclose(*same)


def test_twins_have_relations_and_shares_of_their_own():
    results = study(0.0, 0.3, noise=0.3)
    ledger, rng = results.ledger, np.random.default_rng(5)
    flat = np.exp(np.log(ledger["train_loss"]) + 0.1 * rng.normal(size=len(ledger)))
    changed = {FLATNESS: flat, COMPLEXITY: ledger[COMPLEXITY], "train_loss": ledger["train_loss"]}
    twins = with_twins(results, "calibrated", changed)
    assert partials(twins, "calibrated").loc[WITH_LOSS, "spearman"] > 0.9
    assert shares(twins, twin="calibrated").loc["loss", "share"] > 0.9
    pd.testing.assert_frame_equal(shares(twins), shares(results))
    partly = with_twins(results, "calibrated", {FLATNESS: flat})
    assert set(variation_table(partly)["twin"]) == {""}


def test_the_page_tells_it_in_both_orders():
    page, content = section_of("is_it_complexity", turned(study(1.0, 0.3)))
    told = words(page)
    number = r"[<>]?\d+% \[[<>]?\d+, [<>]?\d+\]"
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


def sharper(results):
    """A study whose regimes differ in sharpness too."""
    level = results.ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0})
    return replace(results, ledger=results.ledger.assign(**{FLATNESS: results.ledger[FLATNESS] * np.exp(9 * level)}))


def test_the_headline_has_what_complexity_explains_first_and_last():
    results = sharper(turned(study(1.0, 0.3)))
    number = r"[<>]?\d+% \[[<>]?\d+, [<>]?\d+\]"
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


def test_one_level_has_no_shares():
    results = study()
    one = replace(results, ledger=results.ledger[results.ledger["regime"] == "baseline"].reset_index(drop=True))
    assert variation_table(one)["share"].isna().all()
    assert "nothing can be told: no two runs of one seed differ in it." in section_of("is_it_complexity", one)[0]


def test_cells_of_few_runs_have_shares_and_no_relations():
    results = study(1.0, 0.3, seeds=3)
    page, content = section_of("is_it_complexity", results)
    assert partial_table(results)["spearman"].isna().all()
    assert "There are too few seeds for intervals." in page
    assert "no cell has five runs that differ in all three" in words(page)
    assert "Whether the regime moves geometric complexity at the end of training cannot be tested with 3 seeds" in page
    assert set(files_of(content.figures)) == {"is_it_complexity_shares.pdf", "is_it_complexity_shares.svg"}


def with_columns(results, **columns):
    """A study with further controls, compared by ratio."""
    quantities = {name: Quantity(name, "control", name.replace("_", " "), scale="ratio") for name in columns}
    return replace(results, ledger=results.ledger.assign(**columns), quantities={**results.quantities, **quantities})


def at_loss(results, **columns):
    """A study that was measured at train loss 0.1 too."""
    quantities = dict(results.quantities)
    for name in columns:
        quantities[f"{name}@0.1"] = replace(quantities[name], name=f"{name}@0.1", matched_loss="0.1")
    ledger = results.ledger.assign(**{f"{name}@0.1": values for name, values in columns.items()})
    return replace(results, ledger=ledger, quantities=quantities)


def test_what_is_all_confidence_is_not_found_given_the_entropy():
    results = study(0.0, 0.0, noise=1.0, seeds=16)
    ledger, rng = results.ledger, np.random.default_rng(7)
    confidence = rng.normal(size=len(ledger))
    sharp, function = (confidence + 0.3 * rng.normal(size=len(ledger)) for _ in range(2))
    moved = replace(results, ledger=ledger.assign(**{FLATNESS: np.exp(sharp), COMPLEXITY: np.exp(function)}))
    both = with_columns(moved, prediction_entropy=np.exp(confidence), head_norm=np.exp(rng.normal(size=len(ledger))))
    assert partials(both).loc[WITH, "ci_low"] > 0.5
    assert partials(both, beside="head_norm").loc[WITH, "ci_low"] > 0.5
    given = partials(both, beside="prediction_entropy").loc[WITH]
    assert given["ci_low"] < 0 < given["ci_high"]
    told = words(section_of("is_it_complexity", turned(both))[0])
    assert "given the loss, and so it does given the head norm too; not given the entropy of predictions too" in told


def test_two_covariates_are_both_taken_out():
    results = study(1.0, 1.0)
    norm = np.random.default_rng(3).lognormal(size=len(results.ledger))
    ranked = results.ledger.assign(norm=norm).groupby("regime")[[FLATNESS, COMPLEXITY, "train_loss", "norm"]].rank()

    def partial(rows):
        x, y, *given = (rows[name].to_numpy() for name in (FLATNESS, COMPLEXITY, "train_loss", "norm"))
        given = np.column_stack([np.ones(len(x)), *given])
        left = [v - given @ np.linalg.lstsq(given, v, rcond=None)[0] for v in (x, y)]
        return np.corrcoef(left)[0, 1]

    wanted = np.mean([partial(rows) for _, rows in ranked.groupby(results.ledger["regime"])])
    found = partials(with_columns(results, head_norm=norm), beside="head_norm").loc[WITH, "spearman"]
    assert found == pytest.approx(wanted)


def test_matched_losses_have_relations_and_shares_of_their_own():
    results = study(1.0, 0.0, seeds=16)
    ledger, rng = results.ledger, np.random.default_rng(2)
    level = ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0}).to_numpy()
    function = rng.normal(size=len(ledger)) + 2 * level
    sharp = function + 0.2 * rng.normal(size=len(ledger))
    there = {FLATNESS: np.exp(sharp), COMPLEXITY: np.exp(function), "train_loss": rng.uniform(0.09, 0.1, len(ledger))}
    matched = at_loss(results, **there)
    assert partials(matched, at="0.1").loc[WITH, "ci_low"] > 0.8
    assert shares(matched, COMPLEXITY_LAST, at="0.1").loc["complexity", "ci_low"] > 0.05
    assert shares(matched, at="0.1").loc["loss", "ci_low"] <= 0
    pd.testing.assert_frame_equal(shares(matched), shares(results))
    told = words(section_of("is_it_complexity", turned(matched))[0])
    assert re.search(r"At train loss 0.1, geometric complexity explains >?9\d% \[\d+, >?\d+\] first", unescape(told))


def moved(results, steps):
    """A study whose complexity differs between levels by steps of its logarithm, beside small luck."""
    rng, ledger = np.random.default_rng(1), results.ledger
    level = ledger["regime"].map(dict(zip(("baseline", "sam", "augmentation"), steps, strict=True)))
    return replace(results, ledger=ledger.assign(**{COMPLEXITY: np.exp(level + 0.1 * rng.normal(size=len(ledger)))}))


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


def test_complexity_that_the_regime_moves_is_told_with_the_levels_that_do():
    results = moved(study(1.0, 0.3), (0.0, 0.0, 0.5))
    table = moves_table(results, [COMPLEXITY]).set_index("level")
    assert table["significant"].tolist() == [False, True]
    assert table.loc["augmentation", "difference"] == pytest.approx(math.exp(0.5), rel=0.1)
    told = words(section_of("is_it_complexity", results)[0])
    assert re.search(
        r"Geometric complexity differs at the end of training from that of baseline in augmentation \(×1\.\d+ [^)]*\); "
        r"it is not seen to in sam\.",
        told,
    )
    assert "Loss explains" in told


def test_an_ordered_factor_is_checked_by_its_trend():
    results = _ordered(2.0)
    (row,) = moves_table(results, [COMPLEXITY]).to_dict("records")
    tau = np.mean(
        [
            stats.kendalltau(part["data.factor"], part[COMPLEXITY]).statistic
            for _, part in results.ledger.groupby("seed")
        ]
    )
    assert (row["level"], row["n"]) == (TREND, 8)
    assert row["difference"] == pytest.approx(tau)
    assert row["significant"]
    assert not moves_table(_ordered(0.0), [COMPLEXITY])["significant"].any()


def _ordered(slope):
    """A study of a numeric factor along which complexity rises."""
    results = with_few(synthetic(regimes=("baseline",), seeds=8, data__factor=[0.1, 0.3, 0.5, 0.7]), *FEW)
    rng, ledger = np.random.default_rng(4), results.ledger
    function = np.exp(slope * ledger["data.factor"] + 0.3 * rng.normal(size=len(ledger)))
    study_of = {**results.study, "compare": {"factor": "data.factor"}}
    return replace(results, ledger=ledger.assign(**{COMPLEXITY: function}), study=study_of)


def test_of_an_ordered_factor_relations_are_those_over_its_levels():
    results = with_few(synthetic(regimes=("baseline",), seeds=8, data__factor=[0.1, 0.2, 0.3, 0.5, 0.7, 0.9]), *FEW)
    rng, ledger = np.random.default_rng(4), results.ledger
    function = 4 * ledger["data.factor"] + 0.2 * rng.normal(size=len(ledger))
    sharp = 4 * ledger["data.factor"] + 0.2 * rng.normal(size=len(ledger))  # within a level they have nothing in common
    moved_both = ledger.assign(**{COMPLEXITY: np.exp(function), FLATNESS: np.exp(sharp)})
    study_of = {**results.study, "compare": {"factor": "data.factor"}, "primary": [FLATNESS]}
    ordered = replace(results, ledger=moved_both, study=study_of)
    (row,) = partial_table(ordered)[partial_table(ordered)["relation"] == WITH].to_dict("records")
    assert row["ci_low"] > 0.5
    assert row["cells"] == 8
    told = words(section_of("is_it_complexity", ordered)[0])
    assert "Over the levels of a seed it ranks with geometric complexity at" in told
    assert "Geometric complexity rises with the level at the end of training (Kendall" in told


@pytest.mark.slow
def test_complexity_that_is_not_moved_is_seldom_said_to_be():
    rng, results, found = np.random.default_rng(9), study(), 0
    for _ in range(300):
        luck = np.exp(rng.normal(size=len(results.ledger)))
        table = moves_table(replace(results, ledger=results.ledger.assign(**{COMPLEXITY: luck})), [COMPLEXITY])
        found += bool(table["significant"].any())
    assert found / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


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
