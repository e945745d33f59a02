"""Which samples of a dataset are used: to train on, to test on, and to calibrate on."""
