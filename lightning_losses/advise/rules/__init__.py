"""What evidence speaks for: from findings to a proposal, one function for each task."""

from lightning_losses.advise.rules import classes, images, numbers, relations

__all__ = ["classes", "images", "numbers", "relations"]
