"""Two small networks of explicit structure, and the five reparametrizations that leave their function as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES = 3
FACTOR = 3.0
SEED = 358  # under which both networks predict every class on their samples


def relu_mlp() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, CLASSES)
    )  # layers 0, 2, and the head at 4


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, stride=2),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, CLASSES),
    )


def randomized(model: nn.Sequential) -> nn.Sequential:
    """Return the model in float64 with parameters and buffers unlike any default."""
    generator = torch.Generator().manual_seed(SEED)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64)

    model.double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            positive = 1.0 if p.ndim == 1 and name.endswith("weight") else 0.0
            p.copy_(positive + (0.4 if p.ndim == 1 else 0.8) * noise(p))
        for name, b in model.named_buffers():
            if b.is_floating_point():
                b.copy_(0.5 + noise(b).square() if name.endswith("var") else 0.3 * noise(b))
    return model


def scale_layers(model: nn.Module) -> None:
    """LW: every hidden layer times a factor, the head by their inverse."""
    first, second, head = model[0], model[2], model[4]
    first.weight.mul_(FACTOR)
    first.bias.mul_(FACTOR)
    second.weight.mul_(1.5)
    second.bias.mul_(1.5 * FACTOR)
    head.weight.div_(1.5 * FACTOR)


def scale_neurons(model: nn.Module) -> None:
    """NW: every neuron times a factor of its own, hidden and before the head."""
    for layer, following in ((model[0], model[2]), (model[2], model[4])):
        neurons = layer.out_features
        factors = FACTOR ** torch.linspace(-1, 1, neurons, dtype=torch.float64)
        layer.weight.mul_(factors[:, None])
        layer.bias.mul_(factors)
        following.weight.div_(factors)


def shift_bias(model: nn.Module) -> None:
    """b+c: a constant added to the head's bias."""
    model[-1].bias.add_(0.7)


def shift_rows(model: nn.Module) -> None:
    """W+1u: one vector added to all rows of the head."""
    model[-1].weight.add_(torch.linspace(-1, 2, model[-1].in_features, dtype=torch.float64))


def fold_norms(model: nn.Module) -> None:
    """BN: every BatchNorm folded into the convolution before it."""
    for at in (0, 3):
        layer, norm = model[at], model[at + 1]
        slope = norm.weight / (norm.running_var + norm.eps).sqrt()
        layer.weight.mul_(slope[:, None, None, None])
        layer.bias.copy_(norm.bias + (layer.bias - norm.running_mean) * slope)
        model[at + 1] = nn.Identity()


@dataclass(frozen=True)
class Net:
    """A network with twelve samples, three of which it gets wrong."""

    make: Callable[[], nn.Sequential]
    shape: tuple[int, ...]

    def model(self) -> nn.Sequential:
        """Return the network in float64, with parameters and buffers unlike any default."""
        return randomized(self.make())

    def samples(self) -> tuple[Tensor, Tensor]:
        """Return inputs ``[12, *shape]`` in float64 and class indices ``[12]``."""
        inputs = torch.randn(12, *self.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        with torch.no_grad():
            targets = self.model().eval()(inputs).argmax(dim=1)
        targets[:3] = (targets[:3] + 1) % CLASSES
        return inputs, targets


MLP = Net(relu_mlp, (2,))
CONV = Net(conv_net, (2, 5, 5))


@dataclass(frozen=True)
class Transformation:
    """A change of parameters, and the network that it is tried on."""

    net: Net
    apply: Callable[[nn.Module], None]
    shifts_outputs: bool = False

    def pair(self) -> tuple[nn.Module, nn.Module]:
        """Return the network before and after."""
        before, after = self.net.model(), self.net.model()
        with torch.no_grad():
            self.apply(after)
        return before, after


TRANSFORMATIONS = {
    "LW": Transformation(MLP, scale_layers),
    "NW": Transformation(MLP, scale_neurons),
    "b+c": Transformation(MLP, shift_bias, shifts_outputs=True),
    "W+1u": Transformation(MLP, shift_rows, shifts_outputs=True),
    "BN": Transformation(CONV, fold_norms),
}
