"""Two processes that share every batch, against one that has it alone."""

import os

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from tests.training.quadratic import INPUTS, TARGETS, small_net
from torch import nn

from sharpscope.data import Dataset
from sharpscope.errors import SharpscopeError
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Recipe, Workers, train
from sharpscope.training.batches import Batch
from sharpscope.training.distributed import ALONE
from sharpscope.training.gradient import Gradient
from sharpscope.training.steps import climb, gradients

CPU = torch.device("cpu")
CASES = {
    "sgd": ("baseline", {}),
    "sam": ({"sam": {"rho": 0.3}}, {"clip_norm": 0.5}),
    "looksam": ({"looksam": {"rho": 0.3, "every": 2}}, {"accumulate": 2}),
    "mixing": ("mixup+ema+relative_flatness", {}),
}


def data():
    # 21 samples in batches of 8: the last has 5, of which one worker gets 3 and the other 2.
    inputs = torch.randn(21, 4, generator=Stream("data").torch())
    targets = torch.arange(21) % 3
    split = {"train_inputs": inputs, "train_targets": targets, "test_inputs": inputs, "test_targets": targets}
    return Dataset(name="points", classes=("a", "b", "c"), mean=(0.0,) * 4, std=(1.0,) * 4, **split)


def trained(case, workers):
    regime, training = CASES[case]
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": 3, "lr": 0.1, **training}
    made = Recipe.from_spec(Training(**settings), Regime.model_validate(regime))
    model = small_net(batch_norm=False).float()
    history = train(model, data(), made, Stream(0), workers=workers)
    return nn.utils.parameters_to_vector(model.parameters()).detach(), history


# Steps in which each worker climbs by its own samples.
OWN_CLIMBS = {
    "sam": {"sam": {"rho": 0.3, "per_worker": True}},
    "esam": {"esam": {"rho": 0.3, "beta": 1, "gamma": 0.7}},
    "esam drawing": {"esam": {"rho": 0.3}},
}


def own_climb(regime, workers):
    """Take one such step; return the weights."""
    made = Recipe.from_spec(Training(lr=0.1), Regime.model_validate(regime))
    model = small_net(batch_norm=False)
    gradient = Gradient(model, made, (), workers, CPU)
    own = Batch(workers.share(INPUTS[:7]), workers.share(TARGETS[:7]), 7)
    with Stream("own", workers.rank).governing():
        gradient.step(made.update(model, made.make_optimizer(model.parameters())), own)
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def batch_norm_after_an_epoch(workers):
    made = Recipe.from_spec(Training(batch_size=21, epochs=1), Regime.model_validate("baseline"))
    model = small_net().float()
    train(model, data(), made, Stream(0), workers=workers)
    return model[1].running_mean


def kept_within_an_epoch(workers):
    """Train with BatchNorm; return the steps and the statistics of the weights kept on the way."""
    training = Training(batch_size=7, epochs=20, lr=0.2, checkpoints_at_loss=[1.0, 0.9], check_loss_every=1)
    made = Recipe.from_spec(training, Regime.model_validate("baseline"))
    history = train(small_net().float(), data(), made, Stream(0), workers=workers)
    found = history.at_loss.values()
    return [kept.step for kept in found], torch.stack([kept.weights["1.running_mean"] for kept in found])


def work(rank, address, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    workers = Workers.of_process_group()
    found = {case: trained(case, workers) for case in CASES}
    results = {case: weights for case, (weights, _) in found.items()}
    results |= {f"{case} losses": [e.batch_loss for e in history.epochs] for case, (_, history) in found.items()}
    results |= {f"own climb {name}": own_climb(regime, workers) for name, regime in OWN_CLIMBS.items()}
    results["statistics"] = batch_norm_after_an_epoch(workers)
    results["kept"] = kept_within_an_epoch(workers)
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    # Without an end in good order: Gloo's threads now and then abort a process that takes them down.
    os._exit(0)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    torch.multiprocessing.spawn(work, (f"file://{folder}/meeting", str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_workers_train_as_one_does_on_the_joined_batch(results, case):
    expected, history = trained(case, ALONE)
    assert results[0][case].equal(results[1][case])
    torch.testing.assert_close(results[0][case], expected, rtol=1e-4, atol=1e-6)
    losses = [epoch.batch_loss for epoch in history.epochs]
    for result in results:
        assert result[f"{case} losses"] == pytest.approx(losses, rel=1e-4)


def own_climb_by_hand(share):
    """Return the weights after one step in which workers descend by a share of their samples, by plain PyTorch."""
    parts = [(INPUTS[:4], TARGETS[:4]), (INPUTS[4:7], TARGETS[4:7])]
    total = 0
    for inputs, targets in parts:
        model = small_net(batch_norm=False)
        before = nn.functional.cross_entropy(model(inputs), targets, reduction="none")
        before.mean().backward()
        climb(*gradients(model.parameters()), 0.3)
        model.zero_grad()
        after = nn.functional.cross_entropy(model(inputs), targets, reduction="none")
        chosen = (after - before).topk(round(share * len(targets))).indices
        after[chosen].mean().backward()
        # Whatever the number of those chosen, they stand for all of the worker's samples.
        total = total + len(targets) / 7 * torch.cat([p.grad.flatten() for p in model.parameters()])
    return nn.utils.parameters_to_vector(small_net(batch_norm=False).parameters()).detach() - 0.1 * total


@pytest.mark.parametrize(("case", "share"), [("sam", 1), ("esam", 0.7)])
def test_each_worker_may_climb_by_its_own_samples(results, case, share):
    for result in results:
        torch.testing.assert_close(result[f"own climb {case}"], own_climb_by_hand(share), rtol=1e-10, atol=1e-12)


def test_workers_that_draw_weights_of_their_own_agree_on_the_step(results):
    assert results[0]["own climb esam drawing"].equal(results[1]["own climb esam drawing"])


def test_running_statistics_are_averaged_over_workers(results):
    assert results[0]["statistics"].equal(results[1]["statistics"])
    order = torch.randperm(21, generator=Stream(0, "order").torch())
    start = small_net().float()
    means = [start[0](part).mean(0) for part in data().train_inputs[order].tensor_split(2)]
    torch.testing.assert_close(results[0]["statistics"], 0.1 * (means[0] + means[1]).detach() / 2)


def test_weights_kept_within_an_epoch_are_the_same_for_all_workers(results):
    (steps, statistics), (steps_of_other, statistics_of_other) = (result["kept"] for result in results)
    assert steps == steps_of_other
    assert any(step % 3 for step in steps), "else none is within an epoch"
    assert statistics.equal(statistics_of_other)


def test_too_small_a_batch_and_a_missing_group_are_refused():
    with pytest.raises(SharpscopeError, match="a batch of 1 cannot be shared by 2 workers"):
        Workers(0, 2).share(torch.zeros(1, 4))
    with pytest.raises(SharpscopeError, match="no process group"):
        Workers.of_process_group()
