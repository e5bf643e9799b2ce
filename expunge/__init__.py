"""Expunge: trained PyTorch models that forget, and the evidence that they did."""

__version__ = "0.1.0"
