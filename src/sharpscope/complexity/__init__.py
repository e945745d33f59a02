"""How complex the learned function is: its derivatives in the input, and distances to its decision boundary."""
