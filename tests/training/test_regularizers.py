"""Regularizers against arithmetic, other libraries, and what they promise."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from scipy import stats
from tests.training.quadratic import CURVATURE, INPUTS, Point, on_batch, on_quadratic, small_net
from torch import nn

import sharpscope
from sharpscope.data import DATASETS, DataSource
from sharpscope.data.augmentations.geometric import random_shift
from sharpscope.errors import DataError, HeadNotFound, SpecError
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import REGIMES, Recipe, check, train
from sharpscope.training.regularizers.dropout import dropping_features
from sharpscope.training.regularizers.flatness import relative_flatness_of, watching_head
from sharpscope.training.regularizers.mixing import blend, paste
from sharpscope.training.steps import Step
from sharpscope.training.updates.sam import Sam


def recipe(regime="baseline", **training):
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": 2, **training}
    return Recipe.from_spec(Training(**settings), Regime.model_validate(regime))


def network(name="mlp"):
    return build(name, (1, 8, 8), 2, Stream(0, "init"))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# Weight decay and label smoothing


def test_decoupled_decay_makes_adam_into_adamw():
    decayed = recipe({"weight_decay": {"value": 0.3, "decoupled": True}}, optimizer="adam", momentum=None, lr=0.1)
    model, reference = small_net(batch_norm=False), small_net(batch_norm=False)
    step = Step(model, decayed.make_optimizer(model.parameters()))
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.1, weight_decay=0.3)
    for _ in range(3):
        step(partial(on_batch, model))
        on_batch(reference)
        optimizer.step()
    torch.testing.assert_close(weights(model), weights(reference), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("update", [Step, partial(Sam, rho=1e-9)], ids=["sgd", "sam"])
def test_decoupled_decay_by_hand(update):
    point = Point(1.0, 2.0, -1.0)
    made = recipe({"weight_decay": {"value": 0.3, "decoupled": True}}, lr=0.1)
    step, x, velocity = update(point, made.make_optimizer(point.parameters())), point.values, 0
    for _ in range(3):
        velocity = 0.9 * velocity + CURVATURE * x
        x = (1 - 0.1 * 0.3) * x - 0.1 * velocity
        step(partial(on_quadratic, point))
    torch.testing.assert_close(point.values, x, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("decoupled", "optimizer"), [(False, "sgd"), (True, "sgd"), (False, "adamw")])
def test_norms_and_biases_may_be_left_out_of_the_decay(decoupled, optimizer):
    part = {"value": 0.3, "decoupled": decoupled, "exclude": "norms_and_biases"}
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    made = recipe({"weight_decay": part}, optimizer=optimizer, momentum=None, lr=0.1)
    stepping = made.make_optimizer(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    stepping.step()
    for name, value in model.named_parameters():
        shrunk = 1 - 0.1 * 0.3 if name in {"0.weight", "3.weight"} else 1.0
        torch.testing.assert_close(value.detach(), shrunk * before[name])


def test_label_smoothing_by_hand():
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    logs = logits.log_softmax(1)
    expected = -(0.7 * (logs[0, 1] + logs[1, 2]) + 0.3 * (logs[0].mean() + logs[1].mean())) / 2
    loss = recipe({"label_smoothing": {"value": 0.3}}).loss(logits, torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(expected.item())


# Mixing


def test_mixup_blends_inputs_and_targets_by_one_share():
    inputs, targets = torch.eye(5), torch.arange(5)
    mixed, probabilities = blend(inputs, targets, 5, Stream("pairs").torch(), alpha=0.2)
    torch.testing.assert_close(mixed, probabilities)
    assert probabilities.sum(1).tolist() == pytest.approx([1.0] * 5)
    # A permutation: each sample gives away what it keeps less of.
    assert probabilities.sum(0).tolist() == pytest.approx([1.0] * 5)
    assert len({round(share, 6) for share in probabilities.diagonal().tolist()} - {1.0}) == 1


def test_the_share_of_mixup_has_the_beta_distribution():
    generator = Stream("shares").torch()
    inputs, targets = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
    shares = []
    while len(shares) < 400:
        mixed, _ = blend(inputs, targets, 2, generator, alpha=0.4)
        if mixed[0, 0] != 0:  # the pair was not each sample with itself
            shares.append(1 - mixed[0, 0].item())
    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_cutmix_mixes_targets_by_the_area_that_is_pasted():
    # Each image holds its own number, so what was pasted can be counted.
    inputs = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 7, 5).clone()
    generator, seen = Stream("boxes").torch(), []
    for _ in range(50):
        mixed, probabilities = paste(inputs, torch.arange(4), 4, generator, alpha=1.0)
        shares = torch.stack([(mixed == number).float().mean(dim=(1, 2, 3)) for number in range(4)], dim=1)
        torch.testing.assert_close(probabilities, shares)
        changed = (mixed != inputs).any(dim=0)[0].nonzero()
        if len(changed):
            height, width = (changed.amax(0) - changed.amin(0) + 1).tolist()
            assert len(changed) == height * width
            seen.append((height, width))
    assert len(set(seen)) > 10


def test_cutmix_needs_images():
    with pytest.raises(DataError, match="cutmix needs images"):
        paste(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), 2, Stream("boxes").torch(), alpha=1.0)


# Label noise


def test_label_noise_redraws_a_share_of_the_training_labels(dataset):
    many = replace(
        dataset,
        train_inputs=dataset.train_inputs.repeat(100, 1, 1, 1),
        train_targets=dataset.train_targets.repeat(100),
        classes=tuple("abcde"),
    )
    recipes = {p: recipe({"label_noise": {"probability": p}}) for p in (0.0, 0.2, 0.6, 1.0)}
    noisy = {p: made.training_data(many, Stream(0)) for p, made in recipes.items()}
    changed = {p: data.train_targets != many.train_targets for p, data in noisy.items()}
    assert not changed[0.0].any()
    for p, where in changed.items():
        # A redrawn label is another one with probability 4/5; 3000 labels, four standard errors.
        assert where.float().mean().item() == pytest.approx(0.8 * p, abs=4 * (0.25 / 3000) ** 0.5)
    assert (changed[0.6] | ~changed[0.2]).all(), "more noise keeps what less noise has redrawn"
    counts = torch.bincount(noisy[1.0].train_targets, minlength=5)
    assert stats.chisquare(counts.numpy()).pvalue > 0.01
    assert noisy[0.6].test_targets is many.test_targets


@pytest.mark.parametrize("per_seed", [False, True])
def test_label_noise_is_the_same_in_every_regime_and_applied_once(dataset, per_seed):
    options = {"label_noise": {"probability": 0.5, "per_seed": per_seed}}
    made = recipe({"augmentation": {}, "sam": {}, **options})
    noisy = made.training_data(dataset, Stream(0))
    assert not noisy.train_targets.equal(dataset.train_targets)
    assert noisy.train_targets.equal(recipe(options).training_data(dataset, Stream(0)).train_targets)
    assert made.training_data(noisy, Stream(0)).train_targets.equal(noisy.train_targets)
    assert recipe().training_data(dataset, Stream(0)) is dataset


def test_label_noise_is_one_for_all_seeds_or_each_seeds_own(dataset):
    def labels(seed, **options):
        return recipe({"label_noise": options}).training_data(dataset, Stream(seed)).train_targets

    assert labels(0, probability=1.0).equal(labels(1, probability=1.0))
    assert not labels(0, probability=1.0, per_seed=True).equal(labels(1, probability=1.0, per_seed=True))
    less, more = (labels(0, probability=p, per_seed=True) != dataset.train_targets for p in (0.2, 0.6))
    assert (more | ~less).all(), "more noise keeps what less noise has redrawn"


def test_the_network_is_trained_on_the_noisy_labels(dataset):
    first, second = network(), network()
    made = recipe({"label_noise": {"probability": 0.9, "per_seed": True}})
    train(first, dataset, made, Stream(0))
    train(second, made.training_data(dataset, Stream(0)), recipe(), Stream(0))
    assert weights(first).equal(weights(second))


# Averages


def recorded(dataset, regime, **training):
    """Return a trained model, and its weights after each step of the same training without an average."""
    model, plain, seen = network("resnet8"), network("resnet8"), []
    train(model, dataset, recipe(regime, **training), Stream(0))

    class Recorder(Step):
        def __call__(self, backward):
            found = super().__call__(backward)
            seen.append(weights(plain))
            return found

    train(plain, dataset, replace(recipe(**training), update=Recorder), Stream(0))
    return model, seen


def test_swa_is_the_mean_over_the_last_epochs(dataset):
    model, seen = recorded(dataset, {"swa": {"start": 0.5}}, epochs=5)
    after_epochs = seen[3::4]
    expected = sum(after_epochs[2:]) / 3  # epochs 3, 4 and 5 of 5 come after the half
    torch.testing.assert_close(weights(model), expected, rtol=1e-5, atol=1e-6)


def test_ema_weighs_the_steps_by_powers_of_the_decay(dataset):
    model, seen = recorded(dataset, {"ema": {"decay": 0.8}}, epochs=2)
    powers = [0.8 ** (len(seen) - 1 - step) for step in range(len(seen))]
    expected = sum(power * there for power, there in zip(powers, seen, strict=True)) / sum(powers)
    torch.testing.assert_close(weights(model), expected, rtol=1e-5, atol=1e-6)


def test_batch_norm_is_estimated_anew_for_averaged_weights(dataset):
    model = network("resnet8")
    train(model, dataset, recipe("ema"), Stream(0))
    batches = dataset.normalize(dataset.train_inputs).tensor_split(4)
    with torch.no_grad():
        first = [model.stem[0](batch) for batch in batches]
    norm = model.stem[1]
    torch.testing.assert_close(norm.running_mean, sum(out.mean((0, 2, 3)) for out in first) / 4, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, sum(out.var((0, 2, 3)) for out in first) / 4, rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1
    assert norm.training


# Relative flatness


@pytest.mark.parametrize("normalize", [False, True])
def test_the_gradient_of_relative_flatness_is_right(normalize):
    draws = Stream("flatness").torch()
    phi, logits, weight = (
        torch.randn(*shape, generator=draws, dtype=torch.float64, requires_grad=True)
        for shape in ((5, 4), (5, 3), (3, 4))
    )

    def flatness(phi, logits, weight):
        return relative_flatness_of(phi, logits.softmax(1), weight, normalize=normalize)

    assert torch.autograd.gradcheck(flatness, (phi, logits, weight))


def test_normalized_it_does_not_see_the_scales_of_features_nor_those_that_are_constant():
    draws = Stream("scales").torch()
    phi, logits, weight, scale = (
        torch.randn(*shape, generator=draws, dtype=torch.float64) for shape in ((5, 4), (5, 3), (3, 4), (4,))
    )
    p = logits.softmax(1)
    expected = relative_flatness_of(phi, p, weight, normalize=True)
    torch.testing.assert_close(relative_flatness_of(phi * scale, p, weight / scale, normalize=True), expected)
    # 0.1 is not representable: the mean of five of them is not it, nor is the variance zero.
    constant = torch.full((5, 1), 0.1, dtype=torch.float32).requires_grad_()
    single, more = torch.cat([phi.float(), constant], dim=1), torch.cat([weight, torch.ones(3, 1)], dim=1).float()
    flatness = relative_flatness_of(single, p.float(), more, normalize=True)
    torch.testing.assert_close(flatness.double(), expected, rtol=1e-5, atol=0)
    flatness.backward()
    assert constant.grad.tolist() == [[0.0]] * 5


@pytest.mark.parametrize("normalize", [False, True])
def test_the_penalty_is_the_measure(dataset, normalize):
    model = network("resnet8").eval()
    inputs, targets = dataset.normalize(dataset.train_inputs), dataset.train_targets
    wanted = {"relative_flatness": {"normalize": normalize}}
    measured = sharpscope.measure(model, [(inputs, targets)], measures=wanted)["relative_flatness"]
    with watching_head(model, strength=-2.0, normalize=normalize) as penalty:
        assert penalty(model(inputs)).item() == pytest.approx(-2.0 * measured.value, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "normalize", "flatten", "sharpen"),
    [
        ("mlp", False, 0.03, -0.003),
        ("resnet8", False, 0.03, -0.003),
        ("mlp", True, 0.01, -0.0003),
        ("resnet8", True, 0.01, -0.001),
    ],
)
def test_either_direction_is_taken_without_losing_the_fit(name, normalize, flatten, sharpen):
    data = DATASETS["digits"](DataSource(None), train_size=200)
    inputs, flatness = data.normalize(data.train_inputs), []
    for strength in (flatten, None, sharpen):
        regime = {"relative_flatness": {"strength": strength, "normalize": normalize}} if strength else "baseline"
        model = build(name, (1, 8, 8), 10, Stream(0, "init"))
        train(model, data, recipe(regime, epochs=12, batch_size=20, lr=0.02), Stream(0))
        with watching_head(model.eval(), strength=1.0, normalize=normalize) as penalty, torch.no_grad():
            outputs = model(inputs)
            flatness.append(penalty(outputs).item())
        assert (outputs.argmax(1) == data.train_targets).float().mean() > 0.9
    assert flatness[0] < 0.9 * flatness[1] < 0.81 * flatness[2]


def test_the_gradient_reaches_every_parameter_through_all_three():
    model = small_net(batch_norm=False)
    with watching_head(model, strength=0.3) as penalty:
        found = torch.autograd.grad(penalty(model(INPUTS)), list(model.parameters()))
    flat = nn.utils.parameters_to_vector(model.parameters()).detach()

    def value(vector):
        nn.utils.vector_to_parameters(vector, model.parameters())
        with torch.no_grad():
            hidden = model[:-1](INPUTS)
            return 0.3 * relative_flatness_of(hidden, model(INPUTS).softmax(1), model[-1].weight)

    for index in (0, 20, 30, 45, 50):
        step = torch.zeros_like(flat)
        step[index] = 1e-6
        numeric = (value(flat + step) - value(flat - step)) / 2e-6
        assert torch.cat([g.flatten() for g in found])[index].item() == pytest.approx(numeric.item(), rel=1e-5)


def test_a_model_without_a_head_is_refused(dataset):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Tanh())
    with pytest.raises(HeadNotFound, match="take 'relative_flatness' out"):
        train(model, dataset, recipe("relative_flatness"), Stream(0))
    with pytest.raises(SpecError, match="a strength of 0 changes nothing"):
        check(Training(), [Regime.model_validate({"relative_flatness": {"strength": 0}})])


# Dropout


def test_dropout_is_before_the_head_and_in_train_mode_only():
    model = small_net(batch_norm=False)
    features = model[:-1](INPUTS)
    with dropping_features(model, probability=0.5):
        with Stream("drop").governing():
            dropped = model(INPUTS)
        with Stream("drop").governing():
            expected = model[-1].forward(nn.functional.dropout(features, 0.5))
        assert dropped.equal(expected)
        model.eval()
        assert model(INPUTS).equal(nn.functional.linear(features, model[-1].weight, model[-1].bias))
    model.train()
    assert model(INPUTS).equal(model(INPUTS))
    with pytest.raises(HeadNotFound), dropping_features(nn.Tanh(), probability=0.5):
        pass


class HeadFirst(nn.Module):
    """Registers its head before the layers that it calls before it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 2)
        self.body = nn.Linear(64, 8)

    def forward(self, x):
        return self.head(self.body(x.flatten(1)).relu())


class HeadAlone(HeadFirst):
    """Registers a linear layer last that it does not call as one."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 1)


@pytest.mark.parametrize(("make", "last"), [(HeadFirst, "body"), (HeadAlone, "attention.out_proj")])
def test_dropout_before_another_layer_than_the_head_is_refused(dataset, make, last):
    with pytest.raises(HeadNotFound, match=f"'head', is not the last one that it registers, '{last}'"):
        train(make(), dataset, recipe("dropout"), Stream(0))


# All of them


@pytest.mark.parametrize("name", sorted(set(REGIMES) - {"baseline"}))
def test_every_regime_trains_is_seeded_and_leaves_nothing_behind(dataset, name):
    data = replace(dataset, augment=partial(random_shift, pixels=1))
    kind = "resnet8" if name == "stochastic_depth" else "mlp"
    first, second, plain = network(kind), network(kind), network(kind)
    for model in (first, second):
        train(model, data, recipe(name, epochs=8), Stream(0))
    train(plain, data, recipe(epochs=8), Stream(0))
    assert weights(first).equal(weights(second))
    assert not weights(first).equal(weights(plain))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in first.modules())


def test_regularizers_compose_with_a_sharpness_aware_step(dataset):
    regime = "cutmix+cutout+dropout+ema+label_noise+label_smoothing+relative_flatness+sam+trivial_augment+weight_decay"
    history = train(network("resnet8"), dataset, recipe(regime), Stream(0))
    assert len(history.epochs) == 2


@pytest.mark.parametrize(("pair", "what"), [("ema+swa", "weights that result"), ("cutmix+mixup", "mixing of samples")])
def test_parts_that_exclude_each_other_are_refused(pair, what):
    with pytest.raises(SpecError, match=f"two parts of the regime replace the {what}"):
        check(Training(), [Regime.model_validate(pair)])


@pytest.mark.parametrize("name", ["cutout", "trivial_augment", "rand_augment"])
def test_changes_of_images_need_images(dataset, name):
    floats = replace(
        dataset, train_inputs=dataset.train_inputs.float(), test_inputs=dataset.test_inputs.float(), calibration=None
    )
    with pytest.raises(DataError, match=f"'{name}' changes images in bytes"):
        recipe(name).augmentation(floats)
