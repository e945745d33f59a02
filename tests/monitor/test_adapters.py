"""Adapters to training frameworks, by stand-ins and by the packages themselves, and the guide that uses them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from tests.monitor.networks import DEFAULT, X, Y, linear, network
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sharpscope import SharpnessMonitor
from sharpscope.errors import SharpscopeError
from sharpscope.monitor import hf_callback, lightning_callback

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "watch-training.md"


def fake_package(monkeypatch: pytest.MonkeyPatch, name: str, base: str) -> None:
    """Put a package in place that has nothing but the class that callbacks derive from."""
    *parents, _ = name.split(".")
    for parent in parents:
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    module = ModuleType(name)
    setattr(module, base, type(base, (), {}))
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [(lightning_callback, "lightning", "lightning"), (hf_callback, "transformers", "transformers")],
)
def test_adapters_name_the_package_they_miss(
    monkeypatch: pytest.MonkeyPatch, make: Any, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SharpscopeError, match=rf"needs the package {module} .*'sharpscope\[{extra}\]'"):
        make(SharpnessMonitor((X, Y), ["parameter_norm"]))


def test_lightning_callback_follows_the_global_step(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(monkeypatch, "lightning.pytorch", "Callback")
    logged = []
    logger = SimpleNamespace(log_metrics=lambda metrics, step: logged.append((step, metrics)))
    trainer = SimpleNamespace(global_step=0, is_global_zero=True, loggers=[logger])
    module = SimpleNamespace(net=linear())
    monitor = SharpnessMonitor((X, Y), ["parameter_norm"], every=2)
    callback = lightning_callback(monitor, network=lambda m: m.net)
    assert type(callback).__mro__[1] is sys.modules["lightning.pytorch"].Callback
    callback.on_train_start(trainer, module)
    for batch, trainer.global_step in enumerate([1, 1, 2, 2, 3]):  # two batches a step
        callback.on_train_batch_end(trainer, module, None, None, batch)
    assert list(monitor.to_frame(wide=True).index) == [0, 2]
    value = monitor.to_frame()["value"][0]
    assert logged == [(step, {"sharpness/parameter_norm": value}) for step in (0, 2)]
    again = lightning_callback(SharpnessMonitor((X, Y), ["parameter_norm"], every=2), log=False)
    again.load_state_dict(callback.state_dict())
    assert again.state_dict() == callback.state_dict()
    other = SimpleNamespace(global_step=4, is_global_zero=False, loggers=[])
    again.on_train_batch_end(other, linear(), None, None, 0)
    assert again.state_dict() == callback.state_dict()


def test_hf_callback_follows_the_global_step(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(monkeypatch, "transformers", "TrainerCallback")
    state = SimpleNamespace(global_step=0, is_world_process_zero=True, log_history=[])
    monitor = SharpnessMonitor((X, Y), ["parameter_norm"], every=2)
    callback = hf_callback(monitor)
    assert type(callback).__mro__[1] is sys.modules["transformers"].TrainerCallback
    model = linear()
    callback.on_train_begin(None, state, None, model=model, optimizer=None)
    for state.global_step in (1, 2, 3):
        callback.on_step_end(None, state, None, model=model)
    value = monitor.to_frame()["value"][0]
    assert state.log_history == [{"sharpness/parameter_norm": value, "step": step} for step in (0, 2)]
    state.global_step, state.is_world_process_zero = 4, False
    callback.on_step_end(None, state, None, model=model)
    assert list(monitor.to_frame(wide=True).index) == [0, 2]


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="the extra lightning is not installed")
@pytest.mark.filterwarnings("ignore")
def test_a_lightning_training_is_the_same_when_watched(tmp_path: Any) -> None:
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            x, y = batch
            return nn.functional.cross_entropy(self(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def fit(*callbacks: Any, epochs: int = 2, checkpoint: Any = None) -> Any:
        pl.seed_everything(0)
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=list(callbacks),
            default_root_dir=tmp_path,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            accumulate_grad_batches=2,
        )
        module = Module()
        trainer.fit(module, DataLoader(TensorDataset(X, Y), 5, shuffle=True), ckpt_path=checkpoint)
        return trainer, module

    monitor = SharpnessMonitor((X, Y), DEFAULT, every=2)
    trainer, watched = fit(lightning_callback(monitor))
    _, plain = fit()
    assert all(map(torch.equal, watched.state_dict().values(), plain.state_dict().values()))
    assert list(monitor.to_frame(wide=True).index) == [0, 2, 4, 6, 8]
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    later = SharpnessMonitor((X, Y), DEFAULT, every=2)
    fit(lightning_callback(later), epochs=3, checkpoint=tmp_path / "two.ckpt")
    assert list(later.to_frame(wide=True).index) == [0, 2, 4, 6, 8, 10, 12]


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None or importlib.util.find_spec("accelerate") is None,
    reason="transformers and accelerate are not both installed",
)
@pytest.mark.filterwarnings("ignore")
def test_a_training_of_transformers_is_the_same_when_watched(tmp_path: Any) -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification, Trainer, TrainingArguments, set_seed

    generator = torch.Generator().manual_seed(0)
    rows = [{"input_ids": torch.randint(1, 11, (6,), generator=generator), "labels": Y[i]} for i in range(24)]

    def fit(*callbacks: Any) -> Any:
        set_seed(0)
        config = GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, num_labels=3, pad_token_id=0)
        model = GPT2ForSequenceClassification(config)
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=2,
            per_device_train_batch_size=4,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=list(callbacks))
        trainer.train()
        return trainer

    monitor = SharpnessMonitor(DataLoader(rows, 8), DEFAULT, every=5)
    watched, plain = fit(hf_callback(monitor)), fit()
    assert all(map(torch.equal, watched.model.state_dict().values(), plain.model.state_dict().values()))
    assert list(monitor.to_frame(wide=True).index) == [0, 5, 10]
    assert not monitor.to_frame()["value"].isna().any()
    assert [row["step"] for row in watched.state.log_history if "sharpness/margin" in row] == [0, 5, 10]


@pytest.mark.parametrize("needs", ["", "lightning", "transformers,accelerate"])
@pytest.mark.filterwarnings("ignore")
def test_the_guide_runs(needs: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in filter(None, needs.split(",")):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python(?: needs=(\S+))?\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert needs in {need for need, _ in blocks}
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        for need, block in blocks:
            if need in ("", needs):
                exec(compile(block, str(GUIDE), "exec"), names)
    assert (tmp_path / "sharpness.csv").read_text().startswith("step,")
    assert len(names["monitor"].to_frame()) > 0
