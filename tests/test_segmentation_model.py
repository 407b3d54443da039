"""The segmentation model: what it measures, what it logs, which networks it takes."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex

from lightning_losses.losses import Boundary
from lightning_losses.recipes.segmentation.digits import DigitScenes
from lightning_losses.recipes.segmentation.distances import signed_distances
from lightning_losses.recipes.segmentation.metrics import Overlap
from lightning_losses.recipes.segmentation.model import Segmenter
from lightning_losses.recipes.segmentation.plot import class_colors, prediction_figure
from lightning_losses.recipes.segmentation.unet import UNet

CRITERION = {"terms": {"dice_ce": "DiceCE", "focal": {"loss": "SoftmaxFocal", "weight": 0.5}}}


def segmenter(**changes) -> Segmenter:
    return Segmenter(**{"criterion": CRITERION, "num_classes": 11, "channels": (4, 8), **changes})


def trainer(root: Path, **changes) -> Trainer:
    return Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": root,
            **changes,
        }
    )


def scenes() -> DigitScenes:
    return DigitScenes(train_scenes=16, val_scenes=4, test_scenes=10, size=32, batch_size=4, eval_batch_size=4)


def overlap_of(num_classes: int, prediction, target, **options) -> dict[str, float]:
    overlap = Overlap(num_classes, **options)
    for batch in zip(prediction, target, strict=True):  # one update per image, as a loader of batches of one
        overlap.update(*(part.unsqueeze(0) for part in batch))
    return {name: float(value) for name, value in overlap.compute().items() if name != "confusion"}


def test_an_ignored_class_is_in_no_mean() -> None:
    """A pixel that is taken for it would make an IoU of 0, which nothing could make good."""
    found = overlap_of(3, torch.tensor([[0, 1, 1, 2, 0]]), torch.tensor([[0, 1, 1, 2, 2]]), ignore_index=0)
    assert found["iou"] == pytest.approx((1 + 1 / 2) / 2)
    found = overlap_of(3, torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 0, 1, 1]]), ignore_index=2)
    assert found == pytest.approx({"iou": (1 + 1 / 2) / 2, "dice": 2 / 3})


def test_a_network_for_other_classes_than_the_datas_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`model.num_classes` must be 11, as the data have it, found 3"):
        trainer(tmp_path).fit(segmenter(num_classes=3), scenes())


def test_overlap_by_hand() -> None:
    """Class 0: 2 shared of 4; class 1: 1 of 3; class 2: 1 of 3, counted over both images."""
    target = torch.tensor([[0, 0, 1], [2, 2, 0]])
    prediction = torch.tensor([[0, 1, 1], [2, 0, 0]])
    found = overlap_of(3, prediction, target)
    assert found["iou"] == pytest.approx((2 / 4 + 1 / 2 + 1 / 2) / 3)
    assert found["dice"] == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_overlap_agrees_with_torchmetrics(generator) -> None:
    target = torch.randint(5, (6, 9, 9), generator=generator)
    prediction = torch.where(torch.rand(6, 9, 9, generator=generator) < 0.6, target, 4 - target)
    found = overlap_of(5, prediction, target)
    dice = MulticlassF1Score(5, average="none")(prediction, target)
    assert found["iou"] == pytest.approx(float(MulticlassJaccardIndex(5)(prediction, target)))
    assert found["dice"] == pytest.approx(float(dice[1:].mean()))


def test_dice_of_one_foreground_class_follows_from_its_iou(generator) -> None:
    target, prediction = (torch.randint(2, (4, 50), generator=generator) for _ in range(2))
    jaccard = float(((prediction == 1) & (target == 1)).sum() / ((prediction == 1) | (target == 1)).sum())
    assert overlap_of(2, prediction, target)["dice"] == pytest.approx(2 * jaccard / (1 + jaccard))


def test_ignored_pixels_and_absent_classes_do_not_count(generator) -> None:
    target, prediction = (torch.randint(3, (2, 40), generator=generator) for _ in range(2))
    ignored = torch.rand(2, 40, generator=generator) < 0.3
    kept = overlap_of(3, prediction[~ignored].unsqueeze(0), target[~ignored].unsqueeze(0))
    found = overlap_of(5, prediction, target.masked_fill(ignored, 255), ignore_index=255)
    assert found == pytest.approx(kept)


@pytest.mark.parametrize("size", [(8, 8), (13, 22), (4, 5)], ids=str)
def test_unet_keeps_any_size(size: tuple[int, int]) -> None:
    logits, features = UNet(2, 5, channels=(4, 6, 8)).eval()(torch.zeros(1, 2, *size))
    assert logits.shape == (1, 5, *size)
    assert features.shape == (1, 4, *size)


def test_shared_features_are_what_the_logits_come_from() -> None:
    net = UNet(3, 5, channels=(4, 8))
    logits, features = net(torch.rand(1, 3, 8, 8))
    assert torch.equal(net.head(features), logits)


@pytest.mark.parametrize("balancer", ["Fixed", "GradNorm"])
def test_torchvision_network_trains(tmp_path: Path, balancer: str) -> None:
    model = segmenter(architecture="lraspp_mobilenet_v3_large", criterion=CRITERION | {"balancer": balancer})
    before = model.network.model.backbone["0"][0].weight.clone()
    trainer(tmp_path, max_steps=2, limit_val_batches=0).fit(model, scenes())
    assert not torch.equal(model.network.model.backbone["0"][0].weight, before)
    assert model(torch.zeros(2, 3, 40, 48, dtype=torch.uint8)).shape == (2, 11, 40, 48)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "deeplabv3_resnet5"}, "Did you mean 'deeplabv3_resnet50'"),
        ({"architecture": "fcn_resnet50", "in_channels": 1}, "`model.in_channels` must be 3 for fcn_resnet50, found 1"),
        ({"num_classes": 1}, "`model.num_classes` must be at least 2, found 1"),
        ({"class_names": ["a", "b"]}, "`model.class_names` must be 11 names"),
        ({"schedule": "step"}, "`model.schedule` must be one of"),
        ({"lr": 0.0}, "`model.lr` must be above 0"),
        ({"channels": ()}, "`channels` must be one width"),
        ({"criterion": {"terms": {"dice": "Dicee"}}}, "Did you mean 'Dice'"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_wrong_arguments_are_named(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        segmenter(**changes)


def test_bytes_and_fractions_are_the_same_image(generator) -> None:
    model = segmenter().eval()
    image = torch.randint(256, (1, 3, 16, 16), generator=generator, dtype=torch.uint8)
    assert torch.equal(model(image), model(image / 255))


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_learning_rate_ends_near_zero_and_passes_its_peak(tmp_path: Path, schedule: str) -> None:
    model = segmenter(schedule=schedule, lr=0.01)
    rates = []
    model.on_train_batch_start = lambda *_: rates.append(model.optimizers().param_groups[0]["lr"])
    trainer(tmp_path, limit_val_batches=0, accumulate_grad_batches=2).fit(model, scenes())
    assert 0.005 < max(rates) <= 0.01
    assert rates[-1] < 0.002


def test_run_logs_every_part_of_the_loss_and_leaves_a_picture(tmp_path: Path) -> None:
    model, run = segmenter(criterion=CRITERION | {"balancer": "GradNorm"}), trainer(tmp_path)
    run.fit(model, scenes())
    parts = {f"train/{kind}/{name}" for kind in ("raw", "weighted") for name in ("dice_ce", "focal")}
    assert {"train/loss", "val/loss", "val/iou", "val/dice", *parts} == set(run.callback_metrics)
    weights = sum(model.criterion.report.weights.values())
    assert float(weights) == pytest.approx(2.0)  # GradNorm's weights sum to the number of terms
    (tested,) = run.test(model, scenes(), verbose=False)
    assert {"test/loss", "test/iou", "test/dice"} == set(tested)
    assert (tmp_path / "predictions.png").stat().st_size > 10_000


def test_checkpoint_is_all_it_takes_to_predict(tmp_path: Path, generator) -> None:
    model, run = segmenter(), trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    run.fit(model, scenes())
    run.save_checkpoint(tmp_path / "model.ckpt")
    image = torch.randint(256, (1, 3, 16, 16), generator=generator, dtype=torch.uint8)
    loaded = Segmenter.load_from_checkpoint(tmp_path / "model.ckpt")
    assert torch.equal(loaded.eval()(image), model.eval()(image))


@pytest.mark.parametrize("count", [2, 11, 21])
def test_class_colors_can_be_told_apart(count: int) -> None:
    colors = torch.from_numpy(class_colors(count))
    assert colors.shape == (count, 3)
    assert torch.pdist(colors).min() > 0.15


def test_picture_shows_every_sample_and_names_every_class() -> None:
    samples = [(torch.zeros(3, 6, 8, dtype=torch.uint8), torch.zeros(6, 8).long(), torch.ones(6, 8).long())] * 3
    samples[0][1][0, 0] = 255  # an ignored pixel
    figure = prediction_figure(samples, ["rest", "cell"])
    shown = [axis for half in figure.subfigs for axis in half.axes if axis.images]
    assert len(shown) == 3 * len(samples)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rest", "cell"]
    assert shown[1].images[0].get_array()[0, 0].tolist() == [0.5, 0.5, 0.5]


def test_distances_are_those_to_the_nearest_pixel_of_the_other_side() -> None:
    mask = torch.randint(0, 3, (2, 6, 9), generator=torch.Generator().manual_seed(0))
    mask[0, :, 4:] = 255  # ignored: outside of every class
    mask[1][mask[1] == 2] = 0  # an image without class 2
    expected = torch.zeros(2, 3, 6, 9)
    places = list(itertools.product(range(6), range(9)))
    for image, label in itertools.product(range(2), range(3)):
        inside = {place for place in places if mask[image][place] == label}
        for place in places if inside else []:
            others = [other for other in places if (other in inside) != (place in inside)]
            distance = min(math.dist(place, other) for other in others) / math.hypot(6, 9)
            expected[image, label][place] = -distance if place in inside else distance
    torch.testing.assert_close(signed_distances(mask, 3), expected)


def test_boundary_loss_counts_neither_ignored_pixels_nor_their_distances() -> None:
    """The pixels of an ignored region can be anything."""
    boundary = {"loss": {"class_path": "Boundary", "init_args": {"excess": True}}}
    inputs = {"input": "input", "target": "distances", "mask": "counted"}
    model = segmenter(criterion={"terms": {"boundary": {**boundary, "inputs": inputs}}}, ignore_index=255)
    mask = torch.randint(0, 11, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    mask[:, :, 5:] = 255
    logits = torch.randn(1, 11, 8, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    model.criterion(**model._offered(logits, mask)).backward()
    assert logits.grad[..., 5:].count_nonzero() == 0
    assert logits.grad[..., :5].count_nonzero() > 0
    torch.testing.assert_close(
        model.criterion.report.raw["boundary"],
        Boundary(excess=True)(logits[..., :5], signed_distances(mask, 11)[..., :5]).detach(),
    )
