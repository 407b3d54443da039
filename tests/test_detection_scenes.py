"""Boxed scenes of digits are those of the segmentation recipe; average precision, by hand."""

from collections.abc import Sequence

import pytest
import torch

from lightning_losses.recipes.detection.assignment import NOTHING, uncounted
from lightning_losses.recipes.detection.decoding import Detections
from lightning_losses.recipes.detection.digits import MOST, BoxedScenes, DigitBoxes
from lightning_losses.recipes.detection.metrics import AveragePrecision
from lightning_losses.recipes.detection.plot import Shown, detection_figure
from lightning_losses.recipes.segmentation.digits import SceneSet


def test_scenes_are_those_of_segmentation_and_boxes_hold_their_pixels() -> None:
    boxed, masked = BoxedScenes("train", 40, size=64, seed=5), SceneSet("train", 40, size=64, seed=5)
    for index in range(40):
        scene, (image, mask) = boxed[3, index], masked[3, index]
        assert torch.equal(scene.image, image)
        held = torch.zeros_like(mask, dtype=torch.bool)
        for (x1, y1, x2, y2), label in zip(scene.boxes.int().tolist(), scene.labels.tolist(), strict=True):
            held[y1:y2, x1:x2] |= mask[y1:y2, x1:x2] == label + 1
        assert torch.equal(held, mask > 0)


def test_boxes_are_whole_and_rows_that_fill_up_come_last() -> None:
    scenes = BoxedScenes("test", 60)
    counts = set()
    for index in range(60):
        scene = scenes[index]
        real = scene.labels != NOTHING
        assert scene.boxes.shape == (MOST, 4)
        assert (scene.boxes[real, 2:] > scene.boxes[real, :2]).all()
        assert scene.boxes.min() >= 0
        assert scene.boxes.max() <= 96
        assert real.tolist() == sorted(real.tolist(), reverse=True)
        counts.add(int(real.sum()))
    assert counts == {2, 3, 4, 5, 6}


def test_loaders_have_the_sizes_asked_for() -> None:
    data = DigitBoxes(train_scenes=10, val_scenes=3, test_scenes=5, size=48, batch_size=4, eval_batch_size=2)
    data.setup("fit")
    data.setup("test")
    batch = next(iter(data.train_dataloader()))
    assert [tuple(part.shape) for part in batch] == [(4, 3, 48, 48), (4, MOST, 4), (4, MOST)]
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [len(loader) for loader in loaders] == [2, 2, 3]


BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0]])


def precision(found: Sequence[tuple[list[int], list[float], list[int]]]) -> dict[str, float]:
    """Of (rows of BOXES, scores, labels) found in images that hold both boxes, of classes 0 and 0."""
    metric = AveragePrecision(["cell", "other"])
    for rows, scores, labels in found:
        metric.update(
            Detections(BOXES[rows], torch.tensor(labels).long(), torch.tensor(scores)), BOXES, torch.tensor([0, 0])
        )
    return metric.compute(per_class=True)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([([0, 1], [0.9, 0.8], [0, 0])], 1.0),
        ([([0], [0.9], [0])], 51 / 101),  # of the recalls 0, .01, ..., 1 those up to .5
        ([([0, 1], [0.9, 0.8], [0, 1])], 51 / 101),
        ([([0, 0, 1], [0.9, 0.8, 0.7], [0, 0, 0])], (51 + 50 * 2 / 3) / 101),  # the second on the first box is wrong
        ([([], [], [])], 0.0),
        ([([0, 1], [0.9, 0.8], [0, 0]), ([], [], [])], 51 / 101),
    ],
    ids=["all", "one of two", "another class", "one twice", "nothing", "nothing in one image"],
)
def test_average_precision_by_hand(found: list, expected: float) -> None:
    values = precision(found)
    assert values["map_50"] == pytest.approx(expected)
    assert values["map"] == pytest.approx(expected)
    assert set(values) == {"map", "map_50", "map_75", "map/cell"}


@pytest.mark.parametrize(("label", "expected"), [(uncounted(0), 1.0), (NOTHING, 0.5)], ids=["a crowd", "nothing"])
def test_what_is_found_in_a_crowd_counts_neither_way(label: int, expected: float) -> None:
    """The surer of two detections lies there: taken for wrong, it halves the precision of the other."""
    metric = AveragePrecision(["cell"])
    metric.update(Detections(BOXES, torch.tensor([0, 0]), torch.tensor([0.5, 0.9])), BOXES, torch.tensor([0, label]))
    assert metric.compute()["map_50"] == pytest.approx(expected, abs=1e-3)


def test_average_precision_forgets_what_it_was_computed_from() -> None:
    metric = AveragePrecision(["cell"])
    metric.update(Detections(BOXES, torch.tensor([0, 0]), torch.ones(2)), BOXES, torch.tensor([0, NOTHING]))
    metric.compute()
    assert metric.compute()["map"] == -1


def test_picture_draws_true_boxes_above_sure_ones() -> None:
    found = Detections(BOXES, torch.tensor([0, 1]), torch.tensor([0.9, 0.1]))
    sample = Shown.of(torch.zeros(3, 48, 48, dtype=torch.uint8), BOXES, torch.tensor([1, NOTHING]), found)
    figure = detection_figure([sample] * 4, ["cell", "other"])
    drawn = [axis for axis in figure.axes if axis.images]
    assert len(drawn) == 8
    assert [len(axis.patches) for axis in drawn] == [1] * 8
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cell", "other"]
    assert [text.get_text() for axis in drawn for text in axis.texts if text.get_text()] == [".90"] * 4
