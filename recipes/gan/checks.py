"""What cannot work is refused by name, with what to do instead."""

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from lightning_losses import LossModule
from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.checks import check_choice, check_number, message, nearest
from lightning_losses.losses.gradient_penalty import SampleGradientLoss

from .recognizer import Recognizer

SCHEDULES = ("simultaneous", "alternating")
SAMPLES = ("real", "fake", "interpolated", "perturbed")
OF_DISCRIMINATOR = frozenset([*SAMPLES, *(f"{name}_samples" for name in SAMPLES)])
"""What `discriminator_inputs` offers."""
OF_GENERATOR = frozenset(["fake", "real", "fake_samples", "fake_features", "real_features"])
"""What `generator_inputs` offers to a loss."""


def check_schedule(schedule: str, n_critic: int) -> None:
    """One step of the discriminator for one of the generator, unless they alternate.

    Raises:
        ValueError: an unknown schedule, or `n_critic` does not fit it.
    """
    check_choice("model.schedule", schedule, SCHEDULES)
    check_number("model.n_critic", n_critic, at_least=1)
    if n_critic > 1 and schedule == "simultaneous":
        rule = "1 where both step at once (model.schedule=alternating allows more)"
        raise ValueError(message("model.n_critic", rule, n_critic))


def check_criteria(discriminator: LossModule, generator: LossModule, norm: str, recognizer: Recognizer) -> None:
    """The losses must ask for what there is, and fit the networks.

    Raises:
        ValueError: a term takes an input that nobody offers, a code that no term reads, or a penalty on the gradients
            of single samples for a discriminator that mixes them.
    """
    offered = {"discriminator": OF_DISCRIMINATOR, "generator": OF_GENERATOR | recognizer.offered}
    for player, criterion in (("discriminator", discriminator), ("generator", generator)):
        for name in criterion.inputs - offered[player] - {"shared"}:
            hint = nearest(name, offered[player])
            raise ValueError(f"`model.criterion_{player}`: no input {name!r} is offered to its terms. {hint}")
    for name in recognizer.offered - generator.inputs:
        raise ValueError(
            f"`model.criterion_generator` must have a term that takes {name!r}, since model.categories or "
            "model.continuous asks for codes that are to stay readable."
        )
    if norm == "batch" and any(isinstance(module, SampleGradientLoss) for module in discriminator.modules()):
        rule = "'spectral' or 'none' with a gradient penalty, since BatchNorm mixes the samples of a batch"
        raise ValueError(message("model.norm", rule, norm))


def check_precision(trainer: Trainer) -> None:
    """Parameters in float32: penalties, the moving average and the judges need it.

    Raises:
        IncompatibleError: they are of half precision.
    """
    precision = trainer.precision
    if precision in ("bf16-true", "16-true"):
        mixed = precision.replace("true", "mixed")
        raise IncompatibleError(
            f"The GAN recipe does not work with trainer.precision={precision}: penalties and samples are computed in "
            f"float32. Instead, take {mixed}."
        )


def check_strategy(trainer: Trainer, automatic: bool) -> None:
    """The strategies under which every parameter gets its gradient.

    Raises:
        IncompatibleError: another one.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        raise IncompatibleError(
            f"The GAN recipe does not work with {type(strategy).__name__}: the generator's loss needs the whole "
            "discriminator with detached parameters. Instead, take trainer.strategy=ddp."
        )
    if not automatic and isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
        raise IncompatibleError(
            "model.schedule=alternating does not work with plain DDP, which waits in each player's turn for the "
            "gradients of the other. Instead, take trainer.strategy=ddp_find_unused_parameters_true, or "
            "model.schedule=simultaneous."
        )
