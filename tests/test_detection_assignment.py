"""Which location finds what, and back: what is predicted perfectly is decoded to the true boxes."""

import itertools

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from lightning_losses import LossModule
from lightning_losses.losses import Varifocal
from lightning_losses.recipes.detection.assignment import NOTHING, Targets, assign, centerness, distances
from lightning_losses.recipes.detection.decoding import Decoder
from lightning_losses.recipes.detection.fcos import FCOS, predicted_boxes
from lightning_losses.recipes.detection.locations import Locations, locations
from lightning_losses.recipes.detection.losses import DenseFocal, DenseVarifocal
from lightning_losses.recipes.detection.network import Dense

HEIGHT, WIDTH, CLASSES = 64, 96, 3
TERMS = {
    "classes": {"loss": DenseFocal(), "inputs": {"input": "logits", "target": "classes"}},
    "boxes": {
        "loss": "GIoU",
        "inputs": {"input": "boxes", "target": "true_boxes", "mask": "positive", "weight": "true_centerness"},
    },
    "centerness": {
        "loss": "BCEWithLogits",
        "inputs": {"input": "centerness", "target": "true_centerness", "mask": "positive"},
    },
}


def grid() -> Locations:
    sizes = [(HEIGHT // stride, WIDTH // stride) for stride in (8, 16, 32)]
    return locations(sizes, (8, 16, 32), (24.0, 40.0), torch.device("cpu"))


def some_boxes(generator: torch.Generator, images: int, most: int) -> tuple[Tensor, Tensor]:
    """Boxes of all sizes, also overlapping; the last rows of the first image fill up."""
    size = torch.tensor([WIDTH, HEIGHT])
    corner = torch.rand(images, most, 2, generator=generator) * (size - 8)
    far = corner + 6 + torch.rand(images, most, 2, generator=generator) * (size - corner - 6)
    labels = torch.randint(CLASSES, (images, most), generator=generator)
    labels[0, most // 2 :] = NOTHING
    return torch.cat([corner, far], -1), labels


def by_loops(where: Locations, boxes: Tensor, labels: Tensor, radius: float) -> list[list[int]]:
    """The row of the box that each location of each image finds, -1 for none: the rule, word for word."""
    found = []
    for image, of_image in zip(boxes.tolist(), labels.tolist(), strict=True):
        rows = []
        for (x, y), stride, smallest, largest in zip(*(part.tolist() for part in where), strict=True):
            best, least = -1, float("inf")
            for row, ((x1, y1, x2, y2), label) in enumerate(zip(image, of_image, strict=True)):
                sides = x - x1, y - y1, x2 - x, y2 - y
                central = abs(x - (x1 + x2) / 2) <= radius * stride and abs(y - (y1 + y2) / 2) <= radius * stride
                fits = min(sides) > 0 and central and smallest <= max(sides) < largest and label != NOTHING
                if fits and (x2 - x1) * (y2 - y1) < least:
                    best, least = row, (x2 - x1) * (y2 - y1)
            rows.append(best)
        found.append(rows)
    return found


@pytest.mark.parametrize("radius", [1.5, float("inf")])
def test_assignment_is_the_rule_word_for_word(generator: torch.Generator, radius: float) -> None:
    where, (boxes, labels) = grid(), some_boxes(generator, images=6, most=7)
    targets = assign(where, boxes, labels, radius)
    rows = torch.tensor(by_loops(where, boxes, labels, radius))
    assert 0.02 < (rows >= 0).float().mean() < 0.9
    for image, of_image in enumerate(rows):
        some = of_image >= 0
        assert targets.label[image][~some].unique().tolist() == [NOTHING]
        assert torch.equal(targets.label[image][some], labels[image][of_image[some]])
        assert torch.equal(targets.box[image][some], boxes[image][of_image[some]])
        assert targets.box[image][~some].count_nonzero() == targets.centerness[image][~some].count_nonzero() == 0


def test_every_scale_has_its_level() -> None:
    """In its centre, a box of each size is found by one level alone."""
    where = grid()
    for side, stride in ((20, 8), (60, 16), (96, 32)):
        box = torch.tensor([[[0.0, 0.0, side, side]]])
        targets = assign(where, box, torch.zeros(1, 1, dtype=torch.long), radius=float("inf"))
        central = (where.point - side / 2).abs().amax(-1) < 4
        found = (targets.label[0] == 0) & central
        assert set(where.stride[found].tolist()) <= {stride}


def test_centerness_by_hand() -> None:
    sides = torch.tensor([[4.0, 4.0, 4.0, 4.0], [1.0, 4.0, 4.0, 4.0], [0.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    assert centerness(sides).tolist() == [1.0, 0.5, 0.0, 0.0]


def perfect(targets: Targets, where: Locations) -> Dense:
    """What an oracle would predict."""
    classes = torch.nn.functional.one_hot(targets.label + 1, CLASSES + 1)[..., 1:]
    sides = distances(where.point, targets.box) / where.stride.unsqueeze(-1)
    return Dense(classes * 40.0 - 20, sides, torch.logit(targets.centerness, eps=1e-6))


def test_perfect_predictions_decode_to_the_true_boxes(generator: torch.Generator) -> None:
    where, (boxes, labels) = grid(), some_boxes(generator, images=8, most=4)
    targets = assign(where, boxes, labels)
    dense = perfect(targets, where)
    scores = (dense.logits.sigmoid() * dense.centerness.sigmoid().unsqueeze(-1)).sqrt()
    count = 0
    for image, (of_image, score) in enumerate(zip(predicted_boxes(dense, where), scores, strict=True)):
        found = Decoder(overlap=0.999)(of_image, score, (HEIGHT, WIDTH))
        some = targets.label[image] != NOTHING
        expected = {
            (*map(round, box), label)
            for *box, label in torch.cat([targets.box[image][some], targets.label[image][some, None]], 1).tolist()
        }
        assert {
            (*map(round, box), label) for *box, label in torch.cat([found.boxes, found.labels[:, None]], 1).tolist()
        } == expected
        count += len(expected)
    assert count > 15


def test_perfect_predictions_cost_nothing_but_the_entropy_of_centerness(generator: torch.Generator) -> None:
    where, (boxes, labels) = grid(), some_boxes(generator, images=4, most=4)
    targets = assign(where, boxes, labels)
    dense = perfect(targets, where)
    criterion = LossModule.from_config({"terms": TERMS})
    criterion(
        logits=dense.logits,
        classes=(dense.logits > 0).long(),
        boxes=predicted_boxes(dense, where),
        true_boxes=targets.box,
        centerness=dense.centerness,
        true_centerness=targets.centerness,
        positive=targets.label != NOTHING,
    )
    raw, bounds = criterion.report.raw, criterion.terms["centerness"].bounds()
    assert float(raw["classes"]) < 1e-6
    assert float(raw["boxes"]) < 1e-5
    assert float(raw["centerness"]) == pytest.approx(float(bounds.lower), rel=1e-3)


def test_of_two_boxes_on_one_object_the_surer_is_kept() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 1.0, 10.0, 10.0], [20.0, 0.0, 40.0, 99.0]])
    scores = torch.tensor([[0.5, 0.0], [0.8, 0.04], [0.0, 0.3]])
    found = Decoder()(boxes, scores, (32, 32))
    assert found.boxes.tolist() == [[0.0, 1.0, 10.0, 10.0], [20.0, 0.0, 32.0, 32.0]]
    assert found.labels.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.8, 0.3])


def detector(classes: int = CLASSES) -> FCOS:
    torch.manual_seed(0)
    return FCOS(classes, 3, (4, 4, 8, 8, 8), 8, 1, (24.0, 40.0), Decoder())


@pytest.mark.parametrize("most", [0, 3], ids=["no rows", "rows that fill up"])
def test_images_without_objects_teach_the_background_alone(most: int) -> None:
    model, criterion = detector(), LossModule.from_config({"terms": TERMS})
    image = torch.rand(2, 3, HEIGHT, WIDTH)
    offered = model.losses(image, torch.zeros(2, most, 4), torch.full((2, most), NOTHING))
    loss = criterion(**{key: value for key, value in offered.items() if key in criterion.inputs})
    loss.backward()
    assert criterion.report.raw["boxes"] == criterion.report.raw["centerness"] == 0
    assert criterion.report.raw["classes"] > 0
    assert model.head.logits.bias.grad.gt(0).all()
    assert model.head.box.weight.grad.count_nonzero() == 0
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_any_size_of_image_goes_through() -> None:
    model = detector().eval()
    for height, width in itertools.product((33, 64), (40, 71)):
        dense, where, levels = model(torch.zeros(1, 3, height, width))
        assert dense.logits.shape == (1, len(where.point), CLASSES)
        assert [level.shape[-1] for level in levels] == [-(-width // stride) for stride in (8, 16, 32)]
        assert len(model.detect(torch.zeros(2, 3, height, width))) == 2


def test_focal_loss_is_divided_by_objects_and_one_more(generator: torch.Generator) -> None:
    logits = torch.randn(2, 9, CLASSES, generator=generator)
    targets = (torch.rand(2, 9, CLASSES, generator=generator) < 0.2).long()
    total = 0.0
    for x, t in zip(logits.double().flatten().tolist(), targets.flatten().tolist(), strict=True):
        p = 1 / (1 + torch.tensor(-x, dtype=torch.float64).exp().item())
        p_true, alpha = (p, 0.25) if t else (1 - p, 0.75)
        total -= alpha * (1 - p_true) ** 2 * torch.tensor(p_true, dtype=torch.float64).log().item()
    assert float(DenseFocal()(logits, targets)) == pytest.approx(total / (int(targets.sum()) + 1), rel=1e-5)


def test_varifocal_loss_is_divided_by_objects_and_one_more(generator: torch.Generator) -> None:
    logits = torch.randn(2, 9, CLASSES, generator=generator)
    quality = torch.rand(logits.shape, generator=generator) * (torch.rand(logits.shape, generator=generator) < 0.2)
    total = Varifocal(reduction="sum")(logits, quality)
    assert float(DenseVarifocal()(logits, quality)) == pytest.approx(float(total) / (int((quality > 0).sum()) + 1))


def test_quality_is_the_overlap_at_the_true_class_and_a_constant(generator: torch.Generator) -> None:
    model = detector()
    boxes, labels = some_boxes(generator, images=2, most=4)
    offered = model.losses(torch.rand(2, 3, HEIGHT, WIDTH, generator=generator), boxes, labels)
    quality, positive = offered["quality"], offered["positive"]
    assert not quality.requires_grad
    assert quality[~positive].count_nonzero() == 0
    assert positive.sum() > 5
    for image, place in positive.nonzero().tolist():
        overlap = box_iou(offered["boxes"][image, place, None], offered["true_boxes"][image, place, None])
        torch.testing.assert_close(quality[image, place], offered["classes"][image, place] * overlap[0, 0].detach())


def test_with_varifocal_loss_the_centerness_is_not_asked(generator: torch.Generator) -> None:
    """It has no term, so it is not trained: a score must not depend on it."""
    model = detector().eval()
    model.score = "class"
    image = torch.rand(1, 3, HEIGHT, WIDTH, generator=generator)
    (before,) = model.detect(image)
    with torch.no_grad():
        model.head.box.bias[4] += 5
    (after,) = model.detect(image)
    torch.testing.assert_close(after, before)
    model.score = "centerness"
    (asked,) = model.detect(image)
    assert not torch.equal(asked.scores, after.scores)
