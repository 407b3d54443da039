"""Pure per-element formulas: no reduction, no state, a file per family."""

from lightning_losses.functional.regression import squared_error

__all__ = ["squared_error"]
