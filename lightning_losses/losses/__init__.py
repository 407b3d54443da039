"""Thin modules over the formulas: checks of hyperparameters, bounds, reduction."""

from lightning_losses.losses.angular import ArcFace, CosineClassifier, CurricularFace
from lightning_losses.losses.asymmetric import Asymmetric
from lightning_losses.losses.base import ElementwiseLoss, Loss, UnaryLoss
from lightning_losses.losses.berhu import BerHu
from lightning_losses.losses.boundary import Boundary
from lightning_losses.losses.boxes import CIoU, DIoU, GIoU, IoU
from lightning_losses.losses.classification import BCEWithLogits, CrossEntropy
from lightning_losses.losses.consolidation import EWC
from lightning_losses.losses.contrastive import InfoNCE
from lightning_losses.losses.cost import CostSensitive
from lightning_losses.losses.distillation import Distillation
from lightning_losses.losses.divergences import JensenShannon, KLDivergence, SymmetricKL
from lightning_losses.losses.focal import SigmoidFocal, SoftmaxFocal
from lightning_losses.losses.gan import (
    HingeDiscriminator,
    LeastSquaresDiscriminator,
    LogisticDiscriminator,
    RelativisticDiscriminator,
    WassersteinDiscriminator,
)
from lightning_losses.losses.generators import (
    HingeGenerator,
    LeastSquaresGenerator,
    MinimaxGenerator,
    NonSaturatingGenerator,
    RelativisticGenerator,
    WassersteinGenerator,
)
from lightning_losses.losses.gradient_penalty import R1, R2, GradientPenalty
from lightning_losses.losses.information import GaussianNLL, MutualInformation
from lightning_losses.losses.landmarks import AdaptiveWing, Wing
from lightning_losses.losses.lovasz import LovaszHinge, LovaszSoftmax
from lightning_losses.losses.margin import Hinge, MultiMargin, SquaredHinge
from lightning_losses.losses.ordinal import CORAL, CORN
from lightning_losses.losses.pairs import Contrastive, Triplet
from lightning_losses.losses.penalties import L1, L2, ElasticNet
from lightning_losses.losses.quantile import Quantile, QuantileCrossing
from lightning_losses.losses.ranking import LambdaRank, ListMLE, ListNet, PairwiseLogistic
from lightning_losses.losses.regression import MAE, MSE, SmoothL1
from lightning_losses.losses.robust import Huber, LogCosh
from lightning_losses.losses.robustness import MART, TRADES
from lightning_losses.losses.rounding import Rounding, RoundingDecision
from lightning_losses.losses.segmentation import Dice, DiceCE, GeneralizedDice
from lightning_losses.losses.tversky import FocalTversky, Tversky
from lightning_losses.losses.varifocal import Varifocal

__all__ = [
    "CORAL",
    "CORN",
    "EWC",
    "L1",
    "L2",
    "MAE",
    "MART",
    "MSE",
    "R1",
    "R2",
    "TRADES",
    "AdaptiveWing",
    "ArcFace",
    "Asymmetric",
    "BCEWithLogits",
    "BerHu",
    "Boundary",
    "CIoU",
    "Contrastive",
    "CosineClassifier",
    "CostSensitive",
    "CrossEntropy",
    "CurricularFace",
    "DIoU",
    "Dice",
    "DiceCE",
    "Distillation",
    "ElasticNet",
    "ElementwiseLoss",
    "FocalTversky",
    "GIoU",
    "GaussianNLL",
    "GeneralizedDice",
    "GradientPenalty",
    "Hinge",
    "HingeDiscriminator",
    "HingeGenerator",
    "Huber",
    "InfoNCE",
    "IoU",
    "JensenShannon",
    "KLDivergence",
    "LambdaRank",
    "LeastSquaresDiscriminator",
    "LeastSquaresGenerator",
    "ListMLE",
    "ListNet",
    "LogCosh",
    "LogisticDiscriminator",
    "Loss",
    "LovaszHinge",
    "LovaszSoftmax",
    "MinimaxGenerator",
    "MultiMargin",
    "MutualInformation",
    "NonSaturatingGenerator",
    "PairwiseLogistic",
    "Quantile",
    "QuantileCrossing",
    "RelativisticDiscriminator",
    "RelativisticGenerator",
    "Rounding",
    "RoundingDecision",
    "SigmoidFocal",
    "SmoothL1",
    "SoftmaxFocal",
    "SquaredHinge",
    "SymmetricKL",
    "Triplet",
    "Tversky",
    "UnaryLoss",
    "Varifocal",
    "WassersteinDiscriminator",
    "WassersteinGenerator",
    "Wing",
]
