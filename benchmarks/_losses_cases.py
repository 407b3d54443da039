"""Which losses `losses.py` compares, on which data, with peers set up so that they compute the same number."""

from collections.abc import Callable
from functools import partial
from pkgutil import resolve_name
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses import losses

Loss = Callable[[Tensor, Tensor], Tensor]
TEMPERATURE = 0.1


class Row(NamedTuple):
    """One way to compute a loss: `make` raises ImportError where its library is not installed.

    Its value and gradient must be those of the row `same_as`, by default the first of its case.
    """

    name: str
    make: Callable[[], Loss]
    same_as: str | None = None


class Target(NamedTuple):
    """The first row is to be at least `at_least` times as fast as the row `peer`."""

    peer: str
    at_least: float


class Case(NamedTuple):
    """A loss, the first of `rows` being ours, and what is to hold; the rows in `lean` are to save nothing."""

    name: str
    data: Callable[[], tuple[Tensor, Tensor]]
    rows: tuple[Row, ...]
    targets: tuple[Target, ...] = ()
    lean: tuple[str, ...] = ()


def peer(where: str, **settings: Any) -> Callable[[], Loss]:
    """A loss of another library, a class to be made with these settings."""
    return lambda: resolve_name(where)(**settings)


def peer_function(where: str, **settings: Any) -> Callable[[], Loss]:
    """The same for a function."""
    return lambda: partial(resolve_name(where), **settings)


def channelled(make: Callable[[], Loss]) -> Callable[[], Loss]:
    """Labels with a channel axis, as MONAI wants them."""

    def made() -> Loss:
        loss = make()
        return lambda input, target: loss(input, target.unsqueeze(1))

    return made


def times(factor: float, make: Callable[[], Loss]) -> Callable[[], Loss]:
    """A loss whose mean runs over more than the elements."""

    def made() -> Loss:
        loss = make()
        return lambda input, target: factor * loss(input, target)

    return made


def compiled(make: Callable[[], Loss]) -> Callable[[], Loss]:
    """Fused by torch.compile."""
    return lambda: torch.compile(make())


def binary(*shape: int, positive: float) -> Callable[[], tuple[Tensor, Tensor]]:
    """Logits, and targets of which a share is 1."""
    return lambda: (torch.randn(*shape), (torch.rand(*shape) < positive).float())


def pixels(images: int, classes: int, side: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Logits and labels of images."""
    return lambda: (torch.randn(images, classes, side, side), torch.randint(classes, (images, side, side)))


def embeddings(number: int, dim: int, classes: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Embeddings, and labels that occur equally often."""
    return lambda: (torch.randn(number, dim), torch.arange(classes).repeat(number // classes))


def boxes(number: int) -> tuple[Tensor, Tensor]:
    """Boxes that overlap, as x1, y1, x2, y2."""
    target = torch.rand(number, 4)
    target[:, 2:] += target[:, :2] + 0.1
    return target + 0.1 * torch.rand(number, 4) * torch.tensor([-1, -1, 1, 1]), target


def nt_xent(input: Tensor, target: Tensor) -> Tensor:
    """By hand, for two views of each sample one after the other; the labels are not looked at."""
    z = F.normalize(input)
    similarity = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(z)).roll(len(z) // 2))


def triplets() -> Loss:
    """PML's triplet loss with the mean over all triplets, where its default is over those that violate the margin."""
    reducer = resolve_name("pytorch_metric_learning.reducers:MeanReducer")()
    loss: Loss = resolve_name("pytorch_metric_learning.losses:TripletMarginLoss")(margin=0.2, reducer=reducer)
    return loss


ALPHA_GAMMA = {"alpha": 0.25, "gamma": 2.0}
MONAI_LABELS = {"to_onehot_y": True, "softmax": True}
MONAI_BATCH = MONAI_LABELS | {"batch": True, "smooth_nr": 0, "smooth_dr": 0}
torchvision_focal = peer_function("torchvision.ops:sigmoid_focal_loss", **ALPHA_GAMMA, reduction="mean")

CASES = (
    Case(
        "binary focal, 4 x 1 x 1024 x 1024 logits, float targets",
        binary(4, 1, 1024, 1024, positive=0.1),
        (
            Row("ours: SigmoidFocal()", losses.SigmoidFocal),
            Row("ours: SigmoidFocal(fused=True)", partial(losses.SigmoidFocal, fused=True)),
            Row("ours: SigmoidFocal(), torch.compile", compiled(losses.SigmoidFocal)),
            Row("torchvision sigmoid_focal_loss", torchvision_focal),
            Row("torchvision sigmoid_focal_loss, torch.compile", compiled(torchvision_focal)),
            Row("MONAI FocalLoss", peer("monai.losses:FocalLoss", **ALPHA_GAMMA)),
            Row("SMP FocalLoss", peer("segmentation_models_pytorch.losses:FocalLoss", mode="binary", **ALPHA_GAMMA)),
            Row(
                "kornia BinaryFocalLossWithLogits",
                peer("kornia.losses:BinaryFocalLossWithLogits", **ALPHA_GAMMA, reduction="mean"),
            ),
        ),
        (Target("torchvision sigmoid_focal_loss", 1.4),),
        ("ours: SigmoidFocal(fused=True)",),
    ),
    Case(
        "soft Dice, 4 x 8 x 256 x 256 logits, int64 labels",
        pixels(4, 8, 256),
        (
            Row("ours: Dice()", losses.Dice),
            Row("ours: Dice(per_image=True)", partial(losses.Dice, per_image=True), "ours: Dice(per_image=True)"),
            Row("MONAI DiceLoss(batch=True)", channelled(peer("monai.losses:DiceLoss", **MONAI_BATCH))),
            Row("SMP DiceLoss", peer("segmentation_models_pytorch.losses:DiceLoss", mode="multiclass")),
            Row(
                'kornia DiceLoss(average="macro")',
                peer("kornia.losses:DiceLoss", average="macro"),
                "ours: Dice(per_image=True)",
            ),
        ),
        (Target("MONAI DiceLoss(batch=True)", 1.15),),
    ),
    Case(
        "Dice + cross-entropy, 4 x 8 x 192 x 192 logits, int64 labels",
        pixels(4, 8, 192),
        (
            Row("ours: DiceCE()", losses.DiceCE),
            Row("ours: DiceCE(fused=True)", partial(losses.DiceCE, fused=True)),
            Row("ours: DiceCE(), torch.compile", compiled(losses.DiceCE)),
            Row("MONAI DiceCELoss(batch=True)", channelled(peer("monai.losses:DiceCELoss", **MONAI_BATCH))),
        ),
        (Target("MONAI DiceCELoss(batch=True)", 1.6),),
        ("ours: DiceCE(fused=True)",),
    ),
    Case(
        "softmax focal, 4 x 8 x 192 x 192 logits, int64 labels",
        pixels(4, 8, 192),
        (
            Row("ours: SoftmaxFocal()", losses.SoftmaxFocal),
            Row(
                "8 x MONAI FocalLoss(use_softmax=True)",
                times(8, channelled(peer("monai.losses:FocalLoss", use_softmax=True, to_onehot_y=True))),
            ),
            Row("8 x kornia FocalLoss", times(8, peer("kornia.losses:FocalLoss", alpha=None, reduction="mean"))),
        ),
    ),
    Case(
        "Lovász-softmax, 2 x 8 x 128 x 128 logits, int64 labels",
        pixels(2, 8, 128),
        (
            Row("ours: LovaszSoftmax()", losses.LovaszSoftmax),
            Row(
                "ours: LovaszSoftmax(per_image=True)",
                partial(losses.LovaszSoftmax, per_image=True),
                "ours: LovaszSoftmax(per_image=True)",
            ),
            Row("SMP LovaszLoss", peer("segmentation_models_pytorch.losses:LovaszLoss", mode="multiclass")),
            Row(
                "kornia LovaszSoftmaxLoss",
                peer("kornia.losses:LovaszSoftmaxLoss"),
                "ours: LovaszSoftmax(per_image=True)",
            ),
        ),
    ),
    Case(
        "asymmetric, 512 x 1000 logits, float targets",
        binary(512, 1000, positive=0.01),
        (
            Row("ours: Asymmetric(gamma_positive=1.0)", partial(losses.Asymmetric, gamma_positive=1.0)),
            Row(
                'timm AsymmetricLossMultiLabel(reduction="mean")',
                peer("timm.loss:AsymmetricLossMultiLabel", reduction="mean"),
            ),
        ),
    ),
    Case(
        "complete IoU, 100 000 boxes",
        partial(boxes, 100_000),
        (
            Row("ours: CIoU()", losses.CIoU),
            Row(
                "torchvision complete_box_iou_loss",
                peer_function("torchvision.ops:complete_box_iou_loss", reduction="mean"),
            ),
        ),
    ),
    Case(
        "NT-Xent, two views of 96 samples, 64 dimensions",
        embeddings(192, 64, classes=96),
        (
            Row("ours: InfoNCE()", partial(losses.InfoNCE, temperature=TEMPERATURE)),
            Row("by hand: cross_entropy(z z^T / tau)", lambda: nt_xent),
            Row("PML SupConLoss", peer("pytorch_metric_learning.losses:SupConLoss", temperature=TEMPERATURE)),
            Row("PML NTXentLoss", peer("pytorch_metric_learning.losses:NTXentLoss", temperature=TEMPERATURE)),
        ),
        (
            Target("PML NTXentLoss", 100),
            Target("by hand: cross_entropy(z z^T / tau)", 1),
        ),
    ),
    Case(
        "triplets, all of a batch of 128, 64 dimensions, 16 classes",
        embeddings(128, 64, classes=16),
        (
            Row('ours: Triplet(mining="batch_all")', partial(losses.Triplet, mining="batch_all")),
            Row("PML TripletMarginLoss(reducer=MeanReducer())", triplets),
        ),
    ),
)
