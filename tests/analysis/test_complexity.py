"""Is it complexity? On ledgers with planted truth: all loss, all complexity, both, none."""

import io
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic, with_twins
from tests.pages import section_of, with_few, words

from sharpscope.analysis.complexity import COMPLEXITY_FIRST, LOSS_FIRST, MEAN, partial_table, variation_table
from sharpscope.analysis.drawing import files_of

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


def shares(results, order=LOSS_FIRST, twin=""):
    table = variation_table(results)
    found = table[(table["order"] == order) & (table["twin"] == twin)]
    return found.set_index("predictor")


def partials(results, twin=""):
    table = partial_table(results)
    return table[table["twin"] == twin].set_index("relation")


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
    assert mean["loss"] == pytest.approx(mean["complexity"], abs=0.15)


def test_none():
    found = shares(study(0.0, 0.0, noise=1.0))
    assert (found["share"] < 0.2).all()
    assert (found["by_chance"] > 0).all()


def test_what_the_level_adds_is_its_own():
    found = shares(study(1.0, 0.0, on_level=2.0))
    assert found.loc["level", "ci_low"] > 0.1
    assert found.loc["level", "share"] > found.loc["level", "by_chance"] * 5


def test_shares_are_those_of_least_squares_on_logarithms():
    results = study(1.0, 1.0)
    ledger = results.ledger
    y, loss, complexity = np.log(ledger[[FLATNESS, "train_loss", COMPLEXITY]].to_numpy()).T
    seeds, levels = (pd.get_dummies(ledger[name]).to_numpy(float) for name in ("seed", "regime"))

    def left(*columns):
        x = np.column_stack([seeds, *columns])
        return np.sum((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2)

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
    page, content = section_of("is_it_complexity", study(1.0, 0.3))
    told = words(page)
    number = r"[<>]?\d+% \[[<>]?\d+, [<>]?\d+\]"
    sentence = (
        f"Loss explains {number} of the variation of log relative flatness over runs of one seed, geometric "
        f"complexity a further {number}, the regime a further {number}. The other way round, geometric complexity "
        f"explains {number}, loss a further {number}."
    )
    assert re.search(sentence, unescape(told))
    assert page.count('<g class="lane"') == 1
    saved = pd.read_csv(io.BytesIO(content.tables["is_it_complexity.csv"]))
    assert len(saved) == 9
    assert b"Relative flatness & Geometric complexity &  & loss first & " in content.tables["is_it_complexity.tex"]


def test_the_figure_is_drawn():
    results = study(seeds=6)
    same = {name: results.ledger[name] for name in (FLATNESS, COMPLEXITY, "train_loss")}
    _, content = section_of("is_it_complexity", with_twins(results, "calibrated", same))
    assert set(files_of(content.figures)) == {"is_it_complexity.pdf", "is_it_complexity.svg"}


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
    assert 'class="lane"' not in page
    assert not files_of(content.figures)
