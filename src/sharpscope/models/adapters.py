"""Networks of other libraries by their own names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.errors import SpecError
from sharpscope.extras import optional
from sharpscope.models.registry import MODELS, image_shape


@MODELS.family("timm")
def timm(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    *,
    pretrained: bool = False,
    arguments: dict[str, Any] | None = None,
) -> nn.Module:
    """Any image model of timm, such as ``timm:resnet18`` or ``timm:vit_tiny_patch16_224``; needs the extra ``timm``.

    Args:
        name: What timm calls it.
        shape: ``(C, H, W)``.
        classes: The number of outputs.
        pretrained: Whether to begin with timm's weights, which are downloaded; the head begins anew.
        arguments: Further arguments of ``timm.create_model``, such as ``{img_size: 32}`` for a transformer.

    Returns:
        The network.

    Raises:
        SpecError: If timm is not installed or refuses, or samples are not images.
    """
    wanted = f"timm:{name}"
    channels = image_shape(wanted, shape)[0]
    library = optional("timm", "timm", f"model '{wanted}'", SpecError)
    try:
        model: nn.Module = library.create_model(
            name, pretrained=pretrained and _has_memory(), num_classes=classes, in_chans=channels, **(arguments or {})
        )
    # The library raises whatever its many networks do.
    except Exception as error:
        raise _refused(wanted, error) from error
    return model


@MODELS.family("transformers")
def transformers(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    *,
    pretrained: bool = False,
    revision: str | None = None,
    arguments: dict[str, Any] | None = None,
) -> nn.Module:
    """Any classifier of images or sequences of transformers, such as ``transformers:gpt2``; needs that extra.

    Sequences come with a mask of their empty places, which are symbol 0.

    Args:
        name: A type of model, such as ``gpt2`` or ``vit``; or a model of the Hugging Face Hub or a folder, whose
            configuration is taken.
        shape: ``(C, H, W)`` of images, or ``(positions, symbols)``.
        classes: The number of outputs.
        pretrained: Whether to begin with the weights of that model; the head begins anew.
        revision: Which commit, tag or branch of a model of the Hub.
        arguments: Changes to its configuration, such as ``{n_layer: 4, n_head: 4, n_embd: 128}``.

    Returns:
        The network; it maps inputs to logits.

    Raises:
        SpecError: If transformers is not installed or refuses, or samples are neither images nor sequences.
    """
    wanted = f"transformers:{name}"
    library = optional("transformers", "transformers", f"model '{wanted}'", SpecError)
    sequences = len(shape) == 2
    if sequences:
        fitted: dict[str, Any] = {"vocab_size": shape[1], "pad_token_id": 0, "num_labels": classes}
        kind = library.AutoModelForSequenceClassification
    else:
        channels, height, width = image_shape(wanted, shape)
        side = height if height == width else [height, width]
        fitted = {"num_channels": channels, "image_size": side, "num_labels": classes}
        kind = library.AutoModelForImageClassification
    changes = {**fitted, **(arguments or {})}
    try:
        if pretrained and _has_memory():
            model = kind.from_pretrained(name, revision=revision, ignore_mismatched_sizes=True, **changes)
        else:
            model = kind.from_config(_configuration(library, name, revision, changes))
    except Exception as error:
        raise _refused(wanted, error) from error
    return SequenceLogits(model) if sequences else ImageLogits(model)


def _configuration(library: Any, name: str, revision: str | None, changes: dict[str, Any]) -> Any:
    if name in library.models.auto.configuration_auto.CONFIG_MAPPING:
        return library.AutoConfig.for_model(name, **changes)
    return library.AutoConfig.from_pretrained(name, revision=revision, **changes)


class ImageLogits(nn.Module):
    """A classifier of images of transformers, with its logits alone as its outputs.

    Args:
        model: The classifier.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` to logits ``[N, classes]``."""
        return self.model(pixel_values=x).logits


class SequenceLogits(nn.Module):
    """A classifier of sequences of transformers, with its logits alone as its outputs.

    Args:
        model: The classifier; its padding is symbol 0.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Map symbols ``[N, positions]``, int64, to logits ``[N, classes]``."""
        return self.model(input_ids=x, attention_mask=(x != 0).long()).logits


def _has_memory() -> bool:
    """Return whether weights made now have memory that others can be loaded into: a trial of shapes has none."""
    return torch.empty(0).device.type != "meta"


def _refused(wanted: str, error: Exception) -> SpecError:
    reason = " ".join(str(error).split())[:300]
    return SpecError(f"the model '{wanted}' cannot be made ({type(error).__name__}: {reason})")
