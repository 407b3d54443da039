"""A generator and a discriminator, each with a composed loss of its own."""

from typing import Any, Literal, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_losses import LossModule
from lightning_losses.callbacks.manual import manual_step
from lightning_losses.checks import check_number

from .checks import check_criteria, check_precision, check_schedule, check_strategy
from .data import Batch
from .fid import check_inception
from .judging import Judged
from .latents import Latent, Latents
from .networks import build_networks
from .optimizers import Adams, leave_uncounted, step_schedulers
from .players import discriminator_inputs, frozen, generator_inputs
from .recognizer import Recognizer


class GAN(Judged):
    """A generator whose samples a discriminator cannot tell from real images.

    Under ``schedule="simultaneous"`` both learn from one backward of

    ``L_D(D(x), D(G(z).detach())) + L_G(D'(G(z)))``, where D' is D with detached parameters:

    every parameter gets the gradient of its own player's loss, once. So it is a training like any other: plain DDP,
    accumulation, clipping, mixed precision and `global_step` work as they should. Under ``schedule="alternating"`` the
    generator answers to the discriminator's step instead, after `n_critic` of them, in manual optimization.

    Args:
        criterion_discriminator: the discriminator's loss, as `LossModule.from_config` takes it; its terms take what
            `discriminator_inputs` offers.
        criterion_generator: the generator's; its terms take what `generator_inputs` and `Recognizer` offer. A balancer
            measures gradients at the generated images.
        size: side length of the images.
        image_channels: 1 or 3.
        architecture: ``"dcgan"`` or ``"resnet"``.
        channels: widths of the generator, from its smallest picture to the largest.
        norm: of the discriminator: ``"batch"``, ``"spectral"`` or ``"none"``.
        noise: Gaussian numbers that a sample is generated from.
        categories: of a categorical code that a term is to keep readable (InfoGAN); 0 for none.
        continuous: how many continuous codes likewise.
        schedule: ``"simultaneous"`` or ``"alternating"``.
        n_critic: steps of the discriminator for one of the generator.
        lr_generator: Adam's learning rate.
        lr_discriminator: Adam's learning rate.
        betas: Adam's.
        lr_decay: ``"constant"`` or ``"linear"``, to 0 at the end of training.
        ema: the decay of the generator's moving average, which is what samples are drawn from.
        lenet_steps: how long the classifier is trained in whose features samples are judged.
        inception: a file of Inception-v3's weights, or ``"download"``: the test then tells the usual FID too; None for
            not.
        seed: of that classifier, and of the latents of validation and test.

    Raises:
        ValueError: an argument out of its range, or losses that do not fit the rest; the message names it.
    """

    def __init__(
        self,
        criterion_discriminator: dict[str, Any],
        criterion_generator: dict[str, Any],
        size: int,
        image_channels: int = 1,
        architecture: str = "dcgan",
        channels: tuple[int, ...] = (128, 64),
        norm: str = "batch",
        noise: int = 64,
        categories: int = 0,
        continuous: int = 0,
        schedule: Literal["simultaneous", "alternating"] = "simultaneous",
        n_critic: int = 1,
        lr_generator: float = 2e-4,
        lr_discriminator: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        lr_decay: Literal["constant", "linear"] = "constant",
        ema: float = 0.99,
        lenet_steps: int = 1000,
        inception: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # so that `load_from_checkpoint` needs nothing but the file
        check_schedule(schedule, n_critic)
        self.latents = Latents(noise, categories, continuous)
        self.generator, self.discriminator = build_networks(
            architecture, self.latents.size, image_channels, size, channels, norm
        )
        self.recognizer = Recognizer(self.discriminator.features, categories, continuous)
        average = get_ema_multi_avg_fn(check_number("model.ema", ema, at_least=0, below=1))  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.generator, multi_avg_fn=average).requires_grad_(False)
        self.criterion_discriminator = LossModule.from_config(criterion_discriminator)
        self.criterion_generator = LossModule.from_config(criterion_generator)
        check_criteria(self.criterion_discriminator, self.criterion_generator, norm, self.recognizer)
        self.adams = Adams(lr_generator, lr_discriminator, betas, lr_decay, n_critic)
        self.automatic_optimization = schedule == "simultaneous"
        self.n_critic = n_critic
        self.lenet_steps, self.seed = int(check_number("model.lenet_steps", lenet_steps, at_least=1)), seed
        self.inception = inception

    def setup(self, stage: str) -> None:
        """Refuse what cannot work, by name."""
        check_strategy(self.trainer, self.automatic_optimization)
        check_precision(self.trainer)
        check_inception(self.inception)

    def on_train_start(self) -> None:
        """Refuse to go on with a learning rate that was scheduled for a training of another length."""
        self.adams.check_length(self)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """The sum of the two losses, or a turn of each player; the parts are logged by name."""
        real = as_floats(batch.image)
        if self.automatic_optimization:
            latent = self.latents.draw_share(len(real), self.device)
            fake = self.generator(latent.z)
            return self._discriminator_loss(real, fake) + self._generator_loss(real, fake, latent)
        self._take_turns(real, batch_idx)
        return None

    def _discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        criterion = self.criterion_discriminator
        loss: Tensor = criterion(**discriminator_inputs(self.discriminator, real, fake, criterion.inputs))
        self._log_report("discriminator", criterion)
        return loss

    def _generator_loss(self, real: Tensor, fake: Tensor, latent: Latent) -> Tensor:
        criterion = self.criterion_generator
        offered = generator_inputs(frozen(self.discriminator), real, fake, criterion.inputs)
        offered |= self.recognizer.inputs(offered.pop("features"), latent)
        if criterion.shared is None:
            offered["shared"] = fake
        loss: Tensor = criterion(**{key: value for key, value in offered.items() if key in criterion.inputs})
        self._log_report("generator", criterion)
        return loss

    def _take_turns(self, real: Tensor, batch_idx: int) -> None:
        of_discriminator, of_generator = cast(list[LightningOptimizer], self.optimizers())
        with torch.no_grad():
            fake = self.generator(self.latents.draw_share(len(real), self.device).z)
        loss = self._discriminator_loss(real, fake)
        manual_step(self, of_discriminator, loss, batch_idx, criterion=self.criterion_discriminator)
        if self.trainer.global_step % self.n_critic == 0:
            torch.clear_autocast_cache()  # of weights that have no gradient, or have changed
            latent = self.latents.draw_share(len(real), self.device)
            loss = self._generator_loss(real, self.generator(latent.z), latent)
            leave_uncounted(of_generator)
            if manual_step(self, of_generator, loss, batch_idx, criterion=self.criterion_generator):
                self.average.update_parameters(self.generator)
                step_schedulers(self)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Let the average follow the generator, before any callback writes a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.generator)

    def _log_report(self, player: str, criterion: LossModule) -> None:
        report = criterion.report
        self.log(f"train/{player}", report.total, prog_bar=True)
        for kind, values in ("raw", report.raw), ("weighted", report.weighted):  # NormalizedLossMonitor logs more
            self.log_dict({f"train/{player}/{kind}/{name}": value for name, value in values.items()})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam: one with a group for each player, or one for each."""
        generators = nn.ModuleList([self.generator, self.recognizer, self.criterion_generator])
        discriminators = nn.ModuleList([self.discriminator, self.criterion_discriminator])
        return self.adams.configure(self, generators, discriminators)


def as_floats(image: Tensor) -> Tensor:
    """Images of uint8 in -1..1, channels last."""
    return (image / 127.5 - 1).contiguous(memory_format=torch.channels_last)
