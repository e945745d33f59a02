import pytest
import torch

from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.training import predict


@pytest.fixture
def model():
    model = build("resnet8", (1, 8, 8), 2, Stream(0, "init"))
    model.stem.eval()
    return model


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_outputs_are_those_of_eval_mode(model, dataset, batch_size):
    outputs = predict(model, dataset.train_inputs, dataset.normalize, batch_size=batch_size)
    expected = model.eval()(dataset.normalize(dataset.train_inputs))
    torch.testing.assert_close(outputs, expected.detach(), rtol=1e-4, atol=1e-5)
    assert not outputs.requires_grad


def test_the_model_is_left_as_it_was(model, dataset):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predict(model, dataset.test_inputs, dataset.normalize)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
    assert model.training
    assert not model.stem[1].training


def test_the_model_is_left_as_it_was_after_a_failure(model, dataset):
    with pytest.raises(RuntimeError):
        predict(model, dataset.test_inputs.flatten(1), dataset.normalize)
    assert model.training
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
