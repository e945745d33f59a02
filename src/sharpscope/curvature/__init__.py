"""The mathematics of (model, loss, data): the risk, passes over it, its operators and their estimators."""
