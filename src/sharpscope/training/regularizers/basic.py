"""The baseline, and regularizers that are a setting of the training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from sharpscope.errors import SpecError
from sharpscope.objective import Classification
from sharpscope.training.averaging import MeanOfEpochs, MovingAverage
from sharpscope.training.optimizers import OPTIMIZERS, norm_or_bias
from sharpscope.training.recipe import EarlyStopping, Recipe
from sharpscope.training.registry import OF_CLASSES, REGIMES, RegimeFacts


@REGIMES.register()
def baseline(recipe: Recipe) -> Recipe:
    """No regularization beyond the training's own settings."""
    return recipe


# Datasets are shifted, turned, cropped or mirrored: what was somewhere is elsewhere.
@REGIMES.register(facts=RegimeFacts(like=("elastic_transform",)))
def augmentation(recipe: Recipe) -> Recipe:
    """The dataset's own augmentation, drawn anew for every batch."""
    return replace(recipe, augment=True)


@REGIMES.register()
def weight_decay(
    recipe: Recipe,
    *,
    value: NonNegativeFloat = 5e-4,
    decoupled: bool = False,
    exclude: Literal["norms_and_biases"] | None = None,
) -> Recipe:
    """Weight decay on every parameter, or all but norms and biases, by the optimizer or decoupled from it.

    Unless decoupled it is what the optimizer calls so: an L2 penalty in SGD, decoupled in AdamW. An optimizer that
    decays by default (AdamW: 0.01) does so in every other regime too, unless ``optimizer_options: {weight_decay: 0}``
    switches that off. Here ``value`` takes the place of that default, and where it is no larger it is refused: the
    regime named after the decay would not be the one that decays more.

    Args:
        recipe: The recipe to change.
        value: The coefficient.
        decoupled: Take the learning rate times the coefficient off each weight before the step, with any optimizer.
        exclude: ``norms_and_biases`` leaves alone what has one dimension at most: biases, and the scales and shifts of
            normalization.

    Raises:
        SpecError: If the training sets a decay already, or every other regime has as much by default.

    Reference: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """
    if exclude is not None:
        recipe = replace(recipe, undecayed=norm_or_bias)
    own = OPTIMIZERS[recipe.optimizer].complete(recipe.optimizer_options).get("weight_decay", 0.0)
    if "weight_decay" not in recipe.optimizer_options and 0 < own >= value:
        raise SpecError(
            f"optimizer '{recipe.optimizer}' decays by {own:g} by default, in every regime, so that one with a decay "
            f"of {value:g} does not decay more than the others; set training.optimizer_options: {{weight_decay: 0}}, "
            f"or a value above {own:g}"
        )
    if not decoupled:
        return recipe.with_optimizer_option("weight_decay", value)
    # Not both: the optimizer's own decay would come on top.
    recipe = recipe.with_optimizer_option("weight_decay", 0.0) if own else recipe
    return replace(recipe, decoupled_decay=value)


@REGIMES.register(facts=OF_CLASSES)
def label_smoothing(recipe: Recipe, *, value: Annotated[float, Field(ge=0, lt=1)] = 0.1) -> Recipe:
    """Targets that give every class a share of the probability.

    The record of the training shows the smoothed loss; weights are kept at, and compared by, the loss without it.

    Args:
        recipe: The recipe to change.
        value: The share that is spread evenly over all classes.

    Reference: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.
    """
    return recipe.with_only("loss", loss=partial(Classification().loss, label_smoothing=value))


@REGIMES.register()
def swa(recipe: Recipe, *, start: Annotated[float, Field(ge=0, lt=1)] = 0.75) -> Recipe:
    """Stochastic weight averaging: the mean of the weights after each of the last epochs.

    The running statistics of BatchNorm are estimated anew on the clean training data, except where a layer is in eval
    mode while the model is trained, as in a frozen part. A training that ends, or comes to a matched loss, before the
    averaging begins has the weights of plain training there. The learning rate follows the training's own schedule; a
    constant one is what the averaging is meant for.

    Args:
        recipe: The recipe to change.
        start: The share of the epochs after which averaging begins.

    Reference: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
    """
    return recipe.with_only("weights that result", averaging=partial(MeanOfEpochs, start=start))


@REGIMES.register()
def ema(recipe: Recipe, *, decay: Annotated[float, Field(gt=0, lt=1)] = 0.99) -> Recipe:
    """An exponential moving average of the weights over steps.

    The average is over the steps taken, without a share of the initialization. The running statistics of BatchNorm are
    estimated anew on the clean training data, except where a layer is in eval mode while the model is trained.

    Args:
        recipe: The recipe to change.
        decay: The weight of a step falls by this factor with every later one: 0.99 averages about 100 steps.

    Reference: Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM 1992; with the bias
        correction of Kingma & Ba, "Adam", ICLR 2015.
    """
    return recipe.with_only("weights that result", averaging=partial(MovingAverage, decay=decay))


@REGIMES.register()
def early_stopping(
    recipe: Recipe, *, share: Annotated[float, Field(gt=0, lt=1)] = 0.1, patience: PositiveInt = 5
) -> Recipe:
    """Stop when the loss on held-out training data no longer falls, and keep the weights where it was smallest.

    The test data are not looked at. What is held out is not trained on, so epochs have fewer steps than in other
    regimes; train loss and sharpness are over all training data still.

    Args:
        recipe: The recipe to change.
        share: Of the training data that is held out, the same in every class.
        patience: Epochs without a smaller loss after which the training ends.

    Reference: Prechelt, "Early Stopping - But When?", in Neural Networks: Tricks of the Trade, 1998.
    """
    return replace(recipe, early_stopping=EarlyStopping(share, patience))
