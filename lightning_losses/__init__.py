"""Compose, balance and monitor losses inside PyTorch Lightning."""

from lightning_losses.version import __version__

__all__ = ["__version__"]
