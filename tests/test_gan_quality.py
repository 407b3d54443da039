"""What samples are judged by, against exact values."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from parity.ranks import RANKS, on_ranks
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torchmetrics.image.fid import FrechetInceptionDistance

from lightning_losses.recipes.gan import neighbours
from lightning_losses.recipes.gan.data import LabelledImages
from lightning_losses.recipes.gan.digits import DigitImages
from lightning_losses.recipes.gan.latents import Latents
from lightning_losses.recipes.gan.lenet import LeNet, train_lenet
from lightning_losses.recipes.gan.model import GAN
from lightning_losses.recipes.gan.neighbours import NeighbourPrecision, radii, share_covered
from lightning_losses.recipes.gan.quality import SampleQuality, total_variation

CRITERIA = ({"terms": {"adversarial": "LogisticDiscriminator"}}, {"terms": {"adversarial": "NonSaturatingGenerator"}})


def precision_and_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    metric = NeighbourPrecision(k)
    for part in real.split(7):
        metric.update(part, real=True)
    for part in fake.split(5):
        metric.update(part, real=False)
    found = metric.compute()
    return float(found["precision"]), float(found["recall"])


def test_radii_and_balls_are_exact() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert radii(line, k=1).tolist() == [1.0, 1.0, 2.0, 4.0]
    assert radii(line, k=2).tolist() == [3.0, 2.0, 3.0, 6.0]
    inside = torch.tensor([[-1.0], [-1.01], [5.0], [11.0], [11.01], [2.5]])
    assert float(share_covered(inside, line, radii(line, k=1))) == pytest.approx(4 / 6)


def test_tables_of_distances_in_parts_are_the_whole(monkeypatch, generator) -> None:
    points, centres = torch.randn(50, 4, generator=generator), torch.randn(40, 4, generator=generator)
    whole = radii(centres, 3), share_covered(points, centres, radii(centres, 3))
    monkeypatch.setattr(neighbours, "ROWS", 7)
    torch.testing.assert_close((radii(centres, 3), share_covered(points, centres, radii(centres, 3))), whole)


def test_the_same_set_has_precision_and_recall_1_and_a_far_one_0(generator) -> None:
    real = torch.randn(60, 8, generator=generator)
    assert precision_and_recall(real, real.flip(0)) == (1, 1)
    assert precision_and_recall(real, real + 100) == (0, 0)


def test_a_collapsed_generator_is_precise_and_recalls_little(generator) -> None:
    """All samples near one of the real images: each passes for real, and nothing else is ever shown."""
    real = torch.randn(200, 8, generator=generator)
    fake = real[:1] + 1e-3 * torch.randn(200, 8, generator=generator)
    precision, recall = precision_and_recall(real, fake)
    assert precision == 1
    assert recall <= 1 / 200


def test_precision_of_one_side_is_recall_of_the_other(generator) -> None:
    real, fake = torch.randn(40, 2, generator=generator), 1.5 * torch.randn(50, 2, generator=generator)
    assert precision_and_recall(real, fake) == precision_and_recall(fake, real)[::-1]
    assert precision_and_recall(real, fake) != precision_and_recall(fake, real)


def test_too_few_images_have_no_neighbours() -> None:
    assert precision_and_recall(torch.zeros(3, 2), torch.zeros(10, 2)) == (0, 0)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[5, 5], [5, 5]], 0.0),
        ([[1, 1], [10, 10]], 0.0),
        ([[7, 0], [0, 3]], 1.0),
        ([[10] * 10, [0] + [10] * 9], 0.1),
        ([[1, 1, 2], [2, 1, 1]], 0.25),
    ],
)
def test_total_variation_is_exact(counts: list, expected: float) -> None:
    assert float(total_variation(torch.tensor(counts))) == pytest.approx(expected, abs=1e-7)


def test_frechet_distance_is_that_of_two_gaussians(generator) -> None:
    """By an independent way: the square root of a symmetric matrix, from its eigenvectors."""
    torch.manual_seed(0)
    quality = SampleQuality(LeNet(1, 8, 10).eval())
    images = [torch.randint(high, (300, 1, 8, 8), generator=generator).byte() for high in (256, 200)]
    features = [quality.lenet(image)[0].detach().double() for image in images]
    for image, real in zip(images, (True, False), strict=True):
        quality.update(image[:100], real)
        quality.update(image[100:], real)
    values, counts = quality.compute()
    (m1, c1), (m2, c2) = ((f.mean(0), f.T.cov()) for f in features)

    def root(matrix: Tensor) -> Tensor:
        size, directions = torch.linalg.eigh(matrix)
        return directions * size.clamp(min=0).sqrt() @ directions.T

    between = root(root(c1) @ c2 @ root(c1))
    expected = (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * between.trace()
    assert values["frechet_lenet"] == pytest.approx(float(expected), rel=1e-3)
    assert counts.sum(1).tolist() == [300, 300]
    assert quality.frechet.real_features_num_samples == 0  # forgotten


def test_the_average_is_exponential_and_its_buffers_are_copies() -> None:
    """After the first step, which it copies, p' = 0.9 p' + 0.1 p; BatchNorm's statistics are those of now."""
    model = GAN(*CRITERIA, size=8, channels=(4, 4), noise=4, ema=0.9)
    assert isinstance(model.average, AveragedModel)
    expected = None
    for _ in range(4):
        for tensor in [*model.generator.parameters(), *model.generator.buffers()]:
            tensor.data = torch.rand_like(tensor.float()).to(tensor.dtype)
        model.average.update_parameters(model.generator)
        now = torch.cat([p.flatten() for p in model.generator.parameters()])
        expected = now if expected is None else 0.9 * expected + 0.1 * now
    torch.testing.assert_close(torch.cat([p.flatten() for p in model.average.module.parameters()]), expected)
    for one, other in zip(model.average.module.buffers(), model.generator.buffers(), strict=True):
        assert torch.equal(one, other)
    assert not any(p.requires_grad for p in model.average.parameters())


def test_samples_come_from_the_average(generator) -> None:
    model = GAN(*CRITERIA, size=8, channels=(4, 4), noise=4)
    z = torch.randn(3, 4, generator=generator)
    for parameter in model.average.parameters():
        nn.init.normal_(parameter)
    before = model(z)
    nn.init.zeros_(model.generator.last.weight)
    assert torch.equal(model(z), before)
    assert before.dtype == torch.uint8
    assert before.float().std() > 0


def test_lenet_is_a_function_of_its_seed_and_learns_the_digits() -> None:
    data = DigitImages(train_images=2000, test_images=500, size=16)
    before = torch.get_rng_state()
    one, again, other = (train_lenet(data.make("train"), steps, seed) for steps, seed in ((120, 0), (120, 0), (1, 1)))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), again.state_dict().values(), strict=True))
    assert not torch.equal(one.head.weight, other.head.weight)
    test = data.make("test")
    assert (one(test.image)[1].argmax(1) == test.label).float().mean() > 0.8


class Few(LightningDataModule):
    """An odd number of images: two ranks share them unequally, and the sampler repeats one."""

    def make(self, split: str) -> LabelledImages:
        generator = torch.Generator().manual_seed(3)
        return LabelledImages(torch.randint(256, (33, 1, 8, 8), generator=generator).byte(), torch.arange(33) % 5)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.make("test"), batch_size=4)


def judged(rank: int, folder: Path, ranks: int = RANKS, inception: str | None = None) -> dict[str, float]:
    torch.manual_seed(0)
    model = GAN(*CRITERIA, size=8, channels=(4, 4), noise=4, lenet_steps=2, inception=inception)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "default_root_dir": folder}
    trainer = Trainer(accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto", **options)
    (metrics,) = trainer.test(model, Few(), verbose=False)
    return metrics


def test_two_ranks_judge_as_one_process(tmp_path: Path) -> None:
    """The same latents for the same places, every image once, and one LeNet for all."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = judged(0, tmp_path / "one", ranks=1)
    assert {name.removeprefix("test/") for name in one} == {"frechet_lenet", "class_tv", "precision", "recall"}
    for rank in on_ranks(judged, tmp_path / "two"):
        assert rank == pytest.approx(one, rel=1e-4)


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights at random in the place of those that torch-fidelity publishes, under the same names."""
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="FID needs torch-fidelity")
    file = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({}, file)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = extractor.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(file))
    torch.save(network.state_dict(), file)
    return file


class Small(nn.Module):
    """Features that are soon computed, in the place of Inception's."""

    num_features = 3

    def forward(self, images: Tensor) -> Tensor:
        return images.double().flatten(2).std(2)


def judged_by_few_features(rank: int, folder: Path, ranks: int = RANKS) -> float:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_losses.recipes.gan.fid.FrechetInceptionDistance", of_few_features)
        return judged(rank, folder, ranks, inception="download")["test/fid"]


def of_few_features(feature_extractor_weights_path: str | None, antialias: bool) -> FrechetInceptionDistance:
    assert (feature_extractor_weights_path, antialias) == (None, False)
    return FrechetInceptionDistance(feature=Small())


def whole(metric: FrechetInceptionDistance) -> float:
    """Of all images but the test's and as many samples, at once."""
    torch.manual_seed(0)
    model = GAN(*CRITERIA, size=8, channels=(4, 4), noise=4, lenet_steps=2)
    images = torch.cat([Few().make("train").image] * 2)
    for batch, real in ((images, True), (model(model.latents.fixed(len(images), seed=0).z), False)):
        metric.update(batch.repeat(1, 3, 1, 1), real=real)
    return float(metric.compute())


def test_the_fid_is_that_of_all_images_but_the_test_s(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity", reason="FID needs torch-fidelity")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    expected = pytest.approx(whole(FrechetInceptionDistance(feature=Small())), rel=1e-6)
    assert judged_by_few_features(0, tmp_path / "one", ranks=1) == expected
    assert on_ranks(judged_by_few_features, tmp_path / "two") == [expected, expected]


@pytest.mark.slow  # the square root of a matrix of 2048 x 2048
def test_the_fid_is_in_the_features_of_inception(tmp_path: Path, inception: Path) -> None:
    expected = whole(FrechetInceptionDistance(feature_extractor_weights_path=str(inception), antialias=False))
    assert judged(0, tmp_path, ranks=1, inception=str(inception))["test/fid"] == pytest.approx(expected, rel=1e-3)


def test_what_the_fid_lacks_is_said_before_the_training(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity", reason="FID needs torch-fidelity")
    with pytest.raises(FileNotFoundError, match="`model.inception` must be a file that exists, 'download' or null"):
        judged(0, tmp_path, ranks=1, inception="nowhere.pth")


def test_fixed_latents_depend_on_the_seed_alone() -> None:
    latents = Latents(noise=3, categories=4, continuous=2)
    first = latents.fixed(5, seed=1)
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(first, latents.fixed(5, seed=1), strict=True))
    assert not torch.equal(first.z, latents.fixed(5, seed=2).z)
    assert torch.equal(first.z[:, 3:7].argmax(1), first.code)
    assert torch.equal(first.z[:, 7:], first.values)
    assert first.values.abs().max() <= 1
