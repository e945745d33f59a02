"""A study with twins of its models that takes a moment."""

MEASURES = ["relative_flatness", "fisher_rao_norm", "fisher_rao_norm_analytic", "gradient_norm", "margin"]
SCORED = ["ece", "nll", "aurc", "accuracy", "brier", "prediction_disagreement", "generalization_gap"]
TWINS = {
    "twins": ["calibrated"],
    "training": {"epochs": 6, "batch_size": 16, "lr": 0.2, "checkpoints_at_loss": [2.0]},
    "measures": MEASURES,
    "scores": SCORED,
    "regimes": ["baseline"],
    "grid": {"seed": 1},
}
