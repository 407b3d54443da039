"""The two players' steps: each gets the gradient of its own loss, however many ranks, batches or optimizers there are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from parity.ranks import RANKS, on_ranks
from torch import Tensor
from torch.nn.functional import softplus
from torch.utils.data import DataLoader

from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.recipes.gan.data import Batch, LabelledImages
from lightning_losses.recipes.gan.model import GAN, as_floats

STEPS, BATCH, NOISE = 3, 16, 16
LOGISTIC = {"adversarial": "LogisticDiscriminator"}
NON_SATURATING = {"adversarial": "NonSaturatingGenerator"}
RELATIVISTIC = {"adversarial": "RelativisticDiscriminator", "r1": {"loss": "R1", "weight": 0.1, "balanced": False}}
PAIRED = {"adversarial": "RelativisticGenerator"}
MATCHING = {"loss": "MSE", "inputs": {"input": "fake_features", "target": "real_features"}}
SCHEDULES = ["simultaneous", "alternating"]


class Images(LightningDataModule):
    """The same images for any number of ranks; a rank's batch is its part of the batch of one process."""

    def __init__(self, batch: int = BATCH) -> None:
        super().__init__()
        self.batch = batch
        self.image = torch.randint(256, (STEPS * BATCH, 1, 8, 8), generator=torch.Generator().manual_seed(1)).byte()

    def train_dataloader(self) -> DataLoader:
        ranks = self.trainer.world_size
        image = self.image.unflatten(0, (-1, ranks, BATCH // ranks))[:, self.trainer.global_rank].flatten(0, 1)
        own = torch.Generator()  # or the loader would draw from the one that the latents come from
        return DataLoader(LabelledImages(image, torch.zeros(len(image))), self.batch // ranks, generator=own)


class Still(GAN):
    """With BatchNorm's fixed statistics: those of a batch differ from rank to rank."""

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.generator.eval()


def gan(discriminator: dict = LOGISTIC, generator: dict = NON_SATURATING, kind: type[GAN] = Still, **options) -> GAN:
    torch.manual_seed(0)
    tiny = {
        "size": 8,
        "channels": (8, 4),
        "norm": "none",
        "noise": NOISE,
        "lr_generator": 1e-2,
        "lr_discriminator": 2e-3,
    }
    return kind({"terms": discriminator}, {"terms": generator}, **{**tiny, **options})


def fit(model: GAN, folder: Path, batch: int = BATCH, **options) -> Trainer:
    torch.manual_seed(7)  # of the latents
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, precision="64-true", use_distributed_sampler=False, default_root_dir=folder, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **{"devices": 1, **options},
    )  # fmt: skip
    trainer.fit(model, Images(batch))
    return trainer


def weights(model: GAN) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def by_hand(model: GAN, alternating: bool) -> GAN:
    """The updates as they stand in the papers, with two optimizers and no LossModule."""
    model = model.double()
    model.generator.eval()
    players = [(model.generator, 1e-2), (model.discriminator, 2e-3)]
    of_generator, of_discriminator = (torch.optim.Adam(p.parameters(), lr, betas=(0.5, 0.999)) for p, lr in players)
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    for image in Images().image.split(BATCH):
        real, fake = as_floats(image), model.generator(model.latents.draw(BATCH, "cpu").z)
        of_discriminator.zero_grad()
        loss = softplus(-model.discriminator(real)[0]).mean() + softplus(model.discriminator(fake.detach())[0]).mean()
        loss.backward()
        if alternating:
            of_discriminator.step()
            fake = model.generator(model.latents.draw(BATCH, "cpu").z)
        gradients = torch.autograd.grad(
            softplus(-model.discriminator(fake)[0]).mean(), list(model.generator.parameters())
        )
        for parameter, gradient in zip(model.generator.parameters(), gradients, strict=True):
            parameter.grad = gradient
        if not alternating:
            of_discriminator.step()
        of_generator.step()
    torch.set_default_dtype(torch.float32)
    return model


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_step_is_the_one_written_by_hand(schedule: str, tmp_path: Path) -> None:
    model, start = gan(schedule=schedule), weights(gan().double())
    fit(model, tmp_path)
    expected = by_hand(gan(), schedule == "alternating")
    for player in ("generator", "discriminator"):
        ours, theirs = weights(getattr(model, player)), weights(getattr(expected, player))
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        assert any((ours[name] - start[f"{player}.{name}"]).abs().max() > 1e-3 for name in ours)


def test_a_step_counts_once_and_the_generator_waits_for_n_critic(tmp_path: Path) -> None:
    model = gan(schedule="alternating", n_critic=2)
    trainer = fit(model, tmp_path)
    assert trainer.global_step == STEPS
    steps = [int(next(iter(optimizer.state.values()))["step"]) for optimizer in trainer.optimizers]
    assert steps == [3, 1]
    assert int(model.average.n_averaged) == 1


def test_neither_player_touches_the_other(tmp_path: Path) -> None:
    """One pass over real and one over fake images in the discriminator's statistics: the generator's leaves none."""
    model = gan(kind=GAN, norm="batch")
    fit(model, tmp_path)
    counts = {name: int(value) for name, value in model.named_buffers() if "num_batches_tracked" in name}
    assert {count for name, count in counts.items() if name.startswith("discriminator")} == {2 * STEPS}
    assert {count for name, count in counts.items() if name.startswith("generator")} == {STEPS}


@pytest.mark.parametrize("discriminator", [LOGISTIC, RELATIVISTIC])
def test_two_micro_batches_are_one_large_batch(discriminator: dict, tmp_path: Path) -> None:
    large, small = gan(discriminator, PAIRED), gan(discriminator, PAIRED)
    fit(large, tmp_path, gradient_clip_val=0.1)
    trainer = fit(small, tmp_path, batch=BATCH // 2, accumulate_grad_batches=2, gradient_clip_val=0.1)
    assert trainer.global_step == STEPS
    torch.testing.assert_close(weights(small), weights(large), rtol=1e-8, atol=1e-10)


def on_a_rank(rank: int, folder: Path, ranks: int = RANKS) -> dict[str, Any]:
    """What is left of two trainings and a refusal."""
    options: dict[str, Any] = {"devices": ranks, "strategy": "ddp" if ranks > 1 else "auto"}
    together = gan(RELATIVISTIC, PAIRED | {"matching": MATCHING})
    fit(together, folder, **options)
    loss = together.criterion_generator.report.total
    try:
        fit(gan(schedule="alternating"), folder, **options)
        refused = ""
    except IncompatibleError as error:
        refused = str(error)
    if ranks > 1:
        options["strategy"] = "ddp_find_unused_parameters_true"
    in_turns = gan(schedule="alternating")
    trainer = fit(in_turns, folder, **options)
    noise = together.latents.draw_share(2, "cpu").z
    return {
        "weights": [weights(together), weights(in_turns)], "loss": float(loss), "refused": refused,
        "step": trainer.global_step, "noise": noise,
    }  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict]]:
    """Of one process, and of each of the ranks."""
    return on_a_rank(0, tmp_path_factory.mktemp("one"), ranks=1), on_ranks(on_a_rank, tmp_path_factory.mktemp("ranks"))


def test_two_ranks_are_one_process(results) -> None:
    one, of_ranks = results
    for rank in of_ranks:
        torch.testing.assert_close(rank["weights"], one["weights"], rtol=1e-6, atol=1e-8)
        assert rank["step"] == one["step"] == STEPS
    assert sum(rank["loss"] for rank in of_ranks) / RANKS == pytest.approx(one["loss"], rel=1e-6)


def test_ranks_draw_different_noise(results) -> None:
    """They are seeded alike, so by themselves they would draw the same."""
    _, (first, second) = results
    assert not torch.equal(first["noise"], second["noise"])


def test_alternating_under_plain_ddp_is_refused_by_name(results) -> None:
    one, of_ranks = results
    assert one["refused"] == ""
    assert all("trainer.strategy=ddp_find_unused_parameters_true" in rank["refused"] for rank in of_ranks)
