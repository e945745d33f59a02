from __future__ import annotations

import pytest
import torch

from sharpscope.errors import SharpscopeError
from sharpscope.store.folder import Store
from sharpscope.study.run.engine import assignment_of
from sharpscope.study.work.devices import resolve_device, usual_workers


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_an_accelerator_where_there_is_one():
    assert [resolve_device(name) for name in ("auto", "cpu", "cuda", "cuda:1")] == ["cuda", "cpu", "cuda", "cuda:1"]
    with pytest.raises(
        SharpscopeError, match="there is no device 'cuda:2' here; there are auto, cpu, cuda, cuda:0, cuda:1"
    ):
        resolve_device("cuda:2")


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_processor_elsewhere():
    assert resolve_device("auto") == "cpu"
    with pytest.raises(SharpscopeError, match=r"there is no device 'cuda' here; there are auto, cpu$"):
        resolve_device("cuda")


def test_the_device_changes_no_identity_and_one_process_fills_an_accelerator(plan_of, tmp_path):
    plan, store = plan_of(), Store(tmp_path)
    assert assignment_of(plan, store, "cuda").runs == assignment_of(plan, store).runs
    assert assignment_of(plan, store, "cuda").device == "cuda"
    assert usual_workers("cuda") == 1
    assert usual_workers("cpu") >= 1
