"""Watches the sharpness of a model while it trains; see ``SharpnessMonitor``."""

from sharpscope.monitor.adapters import hf_callback, lightning_callback
from sharpscope.monitor.monitor import SharpnessMonitor

__all__ = ["SharpnessMonitor", "hf_callback", "lightning_callback"]
