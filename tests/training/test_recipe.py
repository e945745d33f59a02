import re
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from sharpscope.errors import DataError, SpecError
from sharpscope.registry import Registry
from sharpscope.spec import Regime, Run, Training
from sharpscope.training import REGIMES, Recipe, check
from sharpscope.training.optimizers import OPTIMIZERS


def regime(written):
    return Regime.model_validate(written)


def recipe(training=(), written="baseline"):
    return Recipe.from_spec(Training(**dict(training)), regime(written))


def one_parameter():
    return nn.Parameter(torch.ones(2))


def test_a_recipe_takes_over_the_training():
    made = recipe({"lr": 0.2, "momentum": 0.9, "batch_size": 7, "epochs": 3, "schedule": "linear"})
    assert (made.lr, made.batch_size, made.epochs) == (0.2, 7, 3)
    assert [made.schedule(step, 2) for step in range(2)] == [1.0, 0.5]
    optimizer = made.make_optimizer([one_parameter()])
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["lr"] == 0.2
    assert optimizer.defaults["momentum"] == 0.9
    assert optimizer.defaults["weight_decay"] == 0


def test_what_does_not_touch_the_weights_stays_out_of_the_identity():
    def run(**training):
        parts = {"data": "digits", "model": "mlp", "regime": "sam", "seed": 0}
        return Run.model_validate({**parts, "training": training})

    assert run().identity()["training"] == {}
    defaults = {"accumulate": 1, "clip_norm": None, "precision": "float32", "warmup_steps": 0}
    assert run(**defaults, stop_at_loss=None, checkpoints_at_loss=[]).id == run().id
    assert run(checkpoints_at_loss=[0.1], check_loss_every=2).id == run().id
    assert run(stop_at_loss=0.1, check_loss_every=2).id != run(stop_at_loss=0.1).id
    assert run(accumulate=2).id != run().id


def test_every_new_setting_reaches_the_recipe():
    made = recipe(
        {
            "warmup_steps": 4,
            "accumulate": 2,
            "clip_norm": 1.0,
            "precision": "bf16",
            "stop_at_loss": 0.1,
            "checkpoints_at_loss": [0.5, 0.2],
        }
    )
    assert made.schedule(0, 8) == 0.25
    assert (made.accumulate, made.clip_norm, made.precision) == (2, 1.0, "bf16")
    assert (made.stop_at_loss, made.checkpoints_at_loss) == (0.1, (0.5, 0.2))


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_takes_a_step(name):
    parameter = one_parameter()
    optimizer = recipe({"optimizer": name.upper()}).make_optimizer([parameter])
    assert type(optimizer).__name__.lower() == name
    parameter.grad = torch.ones(2)
    optimizer.step()
    assert (parameter < 1).all()


def test_frozen_parameters_are_left_to_themselves():
    frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    optimizer = recipe().make_optimizer([frozen, one_parameter()])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 1


def test_the_fused_step_is_the_default_and_can_be_declined():
    assert recipe().make_optimizer([one_parameter()]).defaults["fused"] is True
    plain = recipe({"optimizer_options": {"foreach": False}}).make_optimizer([one_parameter()])
    assert plain.defaults["fused"] is None


def test_the_order_of_parts_does_not_matter():
    def fields(made):
        return (made.augment, made.optimizer_options, made.update.keywords)

    one, other = "augmentation+sam+weight_decay", "weight_decay+augmentation+sam"
    assert fields(recipe((), one)) == fields(recipe((), other))
    assert fields(recipe((), one)) == (
        True,
        {"weight_decay": 5e-4},
        {"rho": 0.05, "adaptive": False},
    )


def test_parts_are_applied_in_the_order_of_their_names(monkeypatch):
    def halved(recipe):
        return replace(recipe, lr=recipe.lr / 2)

    def raised(recipe):
        return replace(recipe, lr=recipe.lr + 1)

    parts = Registry("regime")
    parts.register("a")(halved)
    parts.register("b")(raised)
    monkeypatch.setattr("sharpscope.training.recipe.REGIMES", parts)
    assert recipe({"lr": 4.0}, "a+b").lr == recipe({"lr": 4.0}, "b+a").lr == 3.0


def test_regime_options_reach_the_recipe():
    made = recipe({"momentum": 0.9}, {"sam": {"rho": 0.1, "adaptive": True}, "weight_decay": {"value": "1e-3"}})
    assert made.update.keywords == {"rho": 0.1, "adaptive": True}
    assert made.make_optimizer([one_parameter()]).defaults["weight_decay"] == 1e-3


def test_weight_decay_replaces_one_that_is_switched_off():
    training = {"optimizer": "adamw", "optimizer_options": {"weight_decay": 0}}
    assert recipe(training).make_optimizer([one_parameter()]).defaults["weight_decay"] == 0
    decayed = recipe(training, "weight_decay")
    assert decayed.make_optimizer([one_parameter()]).defaults["weight_decay"] == 5e-4


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_regime_of_weight_decay_decays_by_its_value_and_more_than_the_baseline(decoupled):
    part = {"weight_decay": {"value": 0.1, "decoupled": decoupled}}
    for training in ({"optimizer": "adamw"}, {}):
        assert decay_of(recipe(training, part)) == pytest.approx(0.1, rel=1e-5)
    assert decay_of(recipe({"optimizer": "adamw"})) == pytest.approx(0.01, rel=1e-4)
    with pytest.raises(SpecError, match=r"'adamw' decays by 0\.01 by default, in every regime"):
        check(Training(optimizer="adamw"), [regime({"weight_decay": {"decoupled": decoupled}})])
    told = Training(optimizer="adamw", optimizer_options={"weight_decay": 0.02})
    with pytest.raises(SpecError, match="set both by the training's optimizer_options and by the regime"):
        check(told, [regime(part)])


def decay_of(made):
    """Return the share by which a recipe shrinks a weight that has no gradient, at the learning rate 1."""
    weight = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    optimizer = replace(made, lr=1.0).make_optimizer([weight])
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    return 1 - weight[0, 0].item()


@pytest.mark.parametrize("name", list(REGIMES))
def test_every_regime_has_a_summary_and_composes_with_the_baseline(name):
    assert REGIMES[name].summary
    training = {"momentum": 0.9}
    assert isinstance(recipe(training, f"baseline+{name}" if name != "baseline" else name), Recipe)


@pytest.mark.parametrize("pair", ["asam+sam", "fsam+looksam", "gradient_norm_penalty+gsam"])
def test_two_parts_cannot_both_replace_the_update_step(pair):
    with pytest.raises(SpecError, match="two parts of the regime replace the update step") as caught:
        check(Training(), [regime(pair)])
    assert caught.value.loc == ("regimes", 0, pair.split("+")[1])


@pytest.mark.parametrize("changing", [{"schedule": "cosine"}, {"warmup_steps": 3}])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_an_optimizer_that_does_not_follow_the_learning_rate_has_a_constant_one(optimizer, changing):
    assert check(Training(optimizer=optimizer), [regime("sam")]) is None
    follows = nullcontext() if optimizer != "rprop" else pytest.raises(SpecError, match="in its first step alone")
    with follows:
        check(Training(optimizer=optimizer, **changing), [regime("sam")])


def test_asam_is_the_adaptive_form_of_sam():
    assert recipe((), "asam").update.keywords == {"rho": 0.5, "adaptive": True}


@pytest.mark.parametrize("training", [{}, {"optimizer": "adagrad"}])
def test_momentum_sam_needs_a_momentum(training):
    with pytest.raises(SpecError, match=r"keeps none as it is set; set training\.momentum"):
        check(Training(**training), [regime("msam")])
    assert check(Training(optimizer="adamw"), [regime("msam")]) is None


OPTIONS = ("training", "optimizer_options")


@pytest.mark.parametrize(
    ("training", "loc", "message"),
    [
        ({"optimizer": "sdg"}, ("training", "optimizer"), "did you mean 'sgd'"),
        ({"optimizer": "lbfgs"}, ("training", "optimizer"), "unknown optimizer 'lbfgs'"),
        ({"schedule": "cosin"}, ("training", "schedule"), "did you mean 'cosine'"),
        ({"optimizer": "adam", "momentum": 0.9}, ("training", "momentum"), "takes no momentum.*rmsprop, sgd"),
        ({"momentum": -1}, ("training",), "Invalid momentum value: -1"),
        ({"momentum": 0.9, "optimizer_options": {"momentum": 0.8}}, ("training", "momentum"), "set twice"),
        ({"optimizer_options": {"nesterov": True}}, ("training",), "Nesterov momentum requires"),
        ({"optimizer_options": {"dampning": 1}}, (*OPTIONS, "dampning"), "did you mean 'dampening'"),
        ({"optimizer_options": {"dampening": "a"}}, (*OPTIONS, "dampening"), "expected a number, got 'a'"),
        ({"optimizer_options": {"lr": 1}}, (*OPTIONS, "lr"), "unknown option 'lr'"),
        ({"accumulate": 9, "batch_size": 8}, ("training", "accumulate"), "9 micro-batches are more than the 8 samples"),
    ],
)
def test_a_wrong_training_is_refused_with_its_place(training, loc, message):
    with pytest.raises(SpecError, match=message) as caught:
        check(Training(**training), [regime("baseline")])
    assert caught.value.loc == loc


@pytest.mark.parametrize(
    ("written", "loc", "message"),
    [
        ("smm", ("smm",), "did you mean 'sam'"),
        ({"sam": {"roh": 0.1}}, ("sam", "roh"), "did you mean 'rho'"),
        ({"sam": {"rho": 0}}, ("sam", "rho"), "greater than 0, got 0"),
        ({"sam": {"adaptive": "perhaps"}}, ("sam", "adaptive"), "got 'perhaps'"),
        ({"augmentation+weight_decay": {"weight_decay": {"value": -1}}}, ("weight_decay", "value"), "got -1"),
    ],
)
def test_a_wrong_regime_is_refused_with_its_place(written, loc, message):
    with pytest.raises(SpecError, match=message) as caught:
        check(Training(), [regime("baseline"), regime(written)])
    assert caught.value.loc == ("regimes", 1, *loc)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"optimizer_options": {"weight_decay": 0.1}}, "take it out of one"),
        ({"optimizer": "rprop"}, "'rprop' takes no weight_decay"),
    ],
)
def test_weight_decay_that_the_optimizer_cannot_take_is_refused(training, message):
    with pytest.raises(SpecError, match=message) as caught:
        check(Training(**training), [regime("weight_decay")])
    assert caught.value.loc == ("regimes", 0, "weight_decay")


def test_augmentation_needs_a_dataset_that_declares_one(dataset):
    with pytest.raises(DataError, match="'tiny' declares no augmentation"):
        recipe((), "augmentation").augmentation(dataset)


@pytest.mark.parametrize("name", ["batch_size", "epochs", "accumulate"])
@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_counts_that_no_training_has_are_refused(name, count):
    with pytest.raises(SpecError, match=f"{name} of a recipe must be a whole number of at least 1, got {count}"):
        Recipe(**{name: count})


@pytest.mark.parametrize("name", ["lr", "decoupled_decay", "clip_norm", "stop_at_loss"])
@pytest.mark.parametrize("number", [-0.1, float("nan"), float("inf"), "x", True])
def test_numbers_that_no_training_has_are_refused(name, number):
    with pytest.raises(SpecError, match=f"{name} of a recipe must be a finite number of at least 0, got '?{number}"):
        Recipe(**{name: number})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'; did you mean 'sgd'"),
        ({"optimizer_options": {"momentun": 0.9}}, "unknown option 'momentun' of optimizer 'sgd'"),
        ({"optimizer_options": {"momentum": -0.9}}, "optimizer 'sgd' refuses its options: Invalid momentum"),
    ],
)
def test_a_regime_is_refused_whose_optimizer_cannot_be_made(monkeypatch, change, reason):
    monkeypatch.setattr(REGIMES, "_entries", dict(REGIMES._entries))

    @REGIMES.register()
    def other_optimizer(recipe):
        """Train by another optimizer."""
        return replace(recipe, **change)

    with pytest.raises(SpecError, match=re.escape(reason)):
        recipe((), "other_optimizer")
