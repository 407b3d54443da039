"""Which steps a monitor measures, counted as the Trainer's loggers count."""

from lightning.pytorch import Trainer

from lightning_losses.checks import check_number


def check_every_n_steps(every_n_steps: int | None) -> int | None:
    """`every_n_steps` if it is None, for the steps that the Trainer logs, or at least 1.

    Raises:
        ValueError: it is below 1.
    """
    return None if every_n_steps is None else int(check_number("every_n_steps", every_n_steps, at_least=1))


def step_of(trainer: Trainer) -> int:
    """The number under which loggers get what is logged in the current batch; 0 in the first optimizer step."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def is_due(trainer: Trainer, every_n_steps: int | None) -> bool:
    """Whether the optimizer step that the current batch belongs to is one to measure.

    Args:
        trainer: the Trainer.
        every_n_steps: measure at every n-th; None for those that the Trainer logs.
    """
    every: int = trainer.log_every_n_steps if every_n_steps is None else every_n_steps  # type: ignore[attr-defined]
    return every > 0 and (step_of(trainer) + 1) % every == 0


def is_last_batch(trainer: Trainer) -> bool:
    """Whether the current batch is the last of its optimizer step; under manual optimization every batch counts so."""
    automatic = trainer.lightning_module.automatic_optimization
    return not (automatic and trainer.fit_loop.epoch_loop._should_accumulate())
