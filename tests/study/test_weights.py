"""Weights saved elsewhere are read in their usual wrappings; what does not fit is named."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sharpscope.cli import run_command
from sharpscope.errors import SharpscopeError
from sharpscope.study.work.weights import load_weights


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


class Wrapped(nn.Module):
    """A model whose own names begin with a prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.model = network()


class Tied(nn.Module):
    """A model that uses one matrix under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight


def others(model: nn.Module) -> dict[str, Tensor]:
    """Return weights that the model does not have yet."""
    return {key: value + 1 for key, value in model.state_dict().items()}


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def check_loaded(model: nn.Module, wanted: dict[str, Tensor]) -> None:
    for key, value in model.state_dict().items():
        assert torch.equal(value, wanted[key]), key


PREFIXES = ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.module."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("make", [network, Wrapped])
def test_prefixes_that_all_keys_share_are_taken_off(
    make: Callable[[], nn.Module], suffix: str, prefix: str, tmp_path: Path
) -> None:
    model, path = make(), tmp_path / f"w.{suffix}"
    wanted = others(model)
    save = save_file if suffix == "safetensors" else torch.save
    save(prefixed(prefix, wanted), path)
    load_weights(model, path, "net")
    check_loaded(model, wanted)


@pytest.mark.parametrize(
    "nest",
    [
        lambda state: {"state_dict": state, "epoch": 3, "lr": 0.1},
        lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {"model_state_dict": state, "loss": torch.tensor(0.3)},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"state_dict": prefixed("model._orig_mod.", state), "model": "resnet18"},
    ],
)
def test_a_state_dict_may_lie_within_others(nest: Callable[[Any], Any], tmp_path: Path) -> None:
    model = network()
    wanted = others(model)
    torch.save(nest(wanted), tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt", "net")
    check_loaded(model, wanted)


def test_one_of_the_names_of_a_tied_parameter_is_enough(tmp_path: Path) -> None:
    model = Tied()
    weight = torch.randn(5, 4)
    save_file({"module.head.weight": weight}, tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors", "net")
    check_loaded(model, {"embedding.weight": weight, "head.weight": weight})


def changed(**entries: Any) -> Callable[[dict[str, Tensor]], Any]:
    def change(state: dict[str, Tensor]) -> Any:
        named = {key.replace("__", "."): value for key, value in entries.items()}
        return {key: value for key, value in {**state, **named}.items() if value is not None}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(**{"0__weight": None}), r"do not fit net: missing '0.weight'$"),
        (changed(extra=torch.ones(2)), r"do not fit net: unexpected 'extra'$"),
        (
            changed(**{"2__weight": torch.ones(3, 4)}),
            r"of another shape '2.weight' \(3, 4\) instead of \(2, 4\)$",
        ),
        (changed(**{"2__weight": [1.0]}), r"of another shape '2.weight' a list instead of \(2, 4\)$"),
        (
            lambda state: prefixed("net.", state),
            r"missing '0.weight', '0.bias', '1.weight' and 6 more; unexpected 'net.0",
        ),
        (
            lambda state: {**prefixed("module.", state), "n_averaged": torch.tensor(3)},
            r"unexpected 'module.0.weight'",
        ),
        (lambda state: prefixed("module.", {**state, "extra": torch.ones(1)}), r"do not fit net: unexpected 'extra'$"),
        (
            lambda state: {"weights": state},
            "must hold a state dict, alone or under 'state_dict' or 'model', got 'weights'",
        ),
        (lambda state: {}, "must hold a state dict.*got nothing"),
        (lambda state: [1, 2], "must hold a state dict, got a list"),
        (
            lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1)},
            "holds a argparse.Namespace.*run code",
        ),
        (lambda state: network(), "nothing but tensors is unpickled.*save the state dict alone"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save(change(others(model)), tmp_path / "w.pt")
    with pytest.raises(SharpscopeError, match=message) as caught:
        load_weights(model, tmp_path / "w.pt", "net")
    assert "\n" not in str(caught.value)
    check_loaded(model, before)


@pytest.mark.parametrize(
    ("content", "came"),
    [
        (b"", "got an empty file"),
        (b"junk", r"got a file of 4 bytes that is neither \(\w+: "),
        (b"hello world\n" * 10, r"got a file of 120 bytes that is neither \(\w+: "),
        (b"PK\x03\x04aaaa", r"got a file of 8 bytes that is neither \(\w+: "),
    ],
    ids=["empty", "short", "text", "archive"],
)
def test_a_file_of_something_else_is_told_with_what_was_expected(content: bytes, came: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(SharpscopeError, match=f"cannot be read as weights: expected a state dict .* {came}") as caught:
        load_weights(network(), tmp_path / "w.pt", "net")
    assert "\n" not in str(caught.value)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"state_dict": network().state_dict(), "harm": Harm()}, tmp_path / "w.pt")
    with pytest.raises(SharpscopeError, match="cannot be read as weights"):
        load_weights(network(), tmp_path / "w.pt", "net")
    assert not (tmp_path / "touched").exists()


def test_the_command_reads_a_checkpoint_of_a_training_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_nets.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    state = {"1.weight": torch.ones(10, 64), "1.bias": torch.zeros(10)}
    torch.save({"state_dict": prefixed("model._orig_mod.", state), "epoch": 1}, "w.ckpt")
    arguments = ["measure", "--model", "own_nets:make", "--data", "digits", "--measures", "parameter_norm", "--json"]
    assert run_command([*arguments, "--weights", "w.ckpt"]) == 0
    assert json.loads(capsys.readouterr().out)["parameter_norm"]["value"] == pytest.approx(640**0.5)
