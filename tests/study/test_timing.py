"""How times on a few samples tell of many."""

from types import SimpleNamespace

import pytest

from sharpscope.store.folder import Store
from sharpscope.study.run.forecast import forecast
from sharpscope.study.stages import train
from sharpscope.study.work import timing
from sharpscope.study.work.stage import in_order


@pytest.fixture
def clock(monkeypatch):
    found = SimpleNamespace(now=0.0, perf_counter=lambda: found.now)
    monkeypatch.setattr(timing, "time", found)
    return found


def reckoned(clock, cost, *, samples=10_000, most=256):
    def action(size):
        clock.now += cost(size)

    return timing.Timing(None, "cpu").extrapolated(action, samples, most)


@pytest.mark.parametrize("by_sample", [1e-5, 1e-3, 0.1])
def test_what_each_sample_takes_is_taken_for_all(clock, by_sample):
    assert reckoned(clock, lambda size: by_sample * size) == pytest.approx(by_sample * 10_000)


def test_what_is_taken_whatever_the_number_of_samples_is_taken_once(clock):
    assert reckoned(clock, lambda size: 0.5) == pytest.approx(0.5)
    assert reckoned(clock, lambda size: 0.5 + 0.01 * size) == pytest.approx(100.5)


def test_what_is_done_but_once_is_not_counted_for_each(clock):
    waits = iter([2.0])
    assert reckoned(clock, lambda size: next(waits, 0.0) + 1e-3 * size) <= 20


def test_few_samples_are_timed_themselves(clock):
    assert reckoned(clock, lambda size: 1.0, samples=4) == pytest.approx(1.0)


def test_what_a_pack_takes_is_shared_by_its_members(clock, plan_of, monkeypatch):
    epochs = 5_000
    plan = plan_of(
        data={"name": "circles", "samples": 100},
        model={"name": "mlp", "hidden": [4]},
        training={"epochs": epochs, "batch_size": 16, "checkpoints_at_loss": [0.1]},
        regimes=["baseline"],
        grid={"seed": 5},
    )
    asked = []

    def trained(members, **_):
        asked.append(members[0].recipe)
        # To prepare it takes as long as 500 epochs.
        clock.now += 0.5 + 1e-3 * members[0].recipe.epochs
        return iter(())

    monkeypatch.setattr(train, "train_pack", trained)
    run, *_ = plan.runs.values()
    stage = next(stage for stage in in_order() if stage.name == "training")
    found = stage.seconds(timing.Timing(plan, "cpu"), run, {})
    assert found == pytest.approx((0.5 + 1e-3 * epochs) / 5, rel=0.02)
    assert max(recipe.epochs for recipe in asked) <= 1024
    assert all(recipe.checkpoints_at_loss for recipe in asked), "looks at the loss are timed with it"


def test_a_forecast_tries_as_many_models_for_many_seeds_as_for_few(plan_of, tmp_path, monkeypatch):
    made = []
    model = timing.Timing.model
    monkeypatch.setattr(timing.Timing, "model", lambda self, run: made.append(run) or model(self, run))

    def tried(seeds):
        made.clear()
        plan = plan_of(
            data={"name": "circles", "samples": 100},
            model={"name": "mlp", "hidden": [4]},
            training={"epochs": 2, "batch_size": 16},
            regimes=["baseline", "sam"],
            measures=["gradient_norm"],
            scores=["accuracy", "cka", "cka_untrained"],
            grid={"seed": seeds},
        )
        assert "features of test samples" in forecast(plan, Store(tmp_path / str(seeds)), 1, "cpu").disk
        return len(made)

    assert tried(2) == tried(6)
