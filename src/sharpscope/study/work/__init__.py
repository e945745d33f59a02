"""What is done with one run: what is requested of it, what its stages are given, and what they all use."""
