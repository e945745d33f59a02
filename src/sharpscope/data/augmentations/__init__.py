"""Batched augmentations: whole batches on any device, every sample its own draws from an explicit generator.

``geometric`` has those that a dataset declares for itself, ``policies`` those that a regime brings along.
"""
