"""In which order the losses come, and how to choose between those of a family."""

from typing import NamedTuple


class Family(NamedTuple):
    """Losses of one task.

    Args:
        title: the task.
        choice: how to choose; a loss is named in backticks.
        members: their classes.
    """

    title: str
    choice: str
    members: tuple[str, ...]


FAMILIES = (
    Family(
        "Regression",
        "Begin with `MSE` if the noise is about normal and what you want is the mean. With outliers that are "
        "noise, take `Huber` (its delta somewhat above the noise), `SmoothL1` (the same up to a factor) or, where "
        "second derivatives are used, `LogCosh`; `MAE` if you want the median. With outliers that are no noise, "
        "`BerHu`. If you want an interval, `Quantile` (with `QuantileCrossing`) makes no assumption on the noise "
        "and `GaussianNLL` a strong one.",
        ("MSE", "MAE", "Huber", "SmoothL1", "LogCosh", "BerHu", "Quantile", "QuantileCrossing", "GaussianNLL"),
    ),
    Family(
        "Landmarks",
        "`Wing` for coordinates, `AdaptiveWing` for heatmaps; both once `SmoothL1` or `MSE` has become nearly "
        "right and the last pixels count.",
        ("Wing", "AdaptiveWing"),
    ),
    Family(
        "Classification",
        "Classes that exclude each other: `CrossEntropy`, and nothing else without evidence. Labels that do not: "
        "`BCEWithLogits`. Where nearly all elements are easy negatives, as the anchors of a detector, "
        "`SigmoidFocal`, or `Varifocal` if the score shall tell how good the box is; as many labels that are mostly "
        "absent, `Asymmetric`; as pixels, `SoftmaxFocal`. They give up calibrated probabilities. A class that is "
        "rare but not easy asks for class weights instead. `CostSensitive` if mistakes have known prices. Hinges "
        "(`Hinge`, `SquaredHinge`, `MultiMargin`) if only the decision counts and never the probability.",
        (
            *("CrossEntropy", "BCEWithLogits", "SoftmaxFocal", "SigmoidFocal", "Varifocal", "Asymmetric"),
            *("CostSensitive", "Hinge", "SquaredHinge", "MultiMargin"),
        ),
    ),
    Family(
        "Ordered classes",
        "Where to be two grades off is worse than to be one off. `CORAL` if the last layer shares one weight "
        "vector among thresholds, `CORN` with any last layer.",
        ("CORAL", "CORN"),
    ),
    Family(
        "Distributions and distillation",
        "`KLDivergence` to fit known probabilities (its gradient is that of `CrossEntropy`, its least value is 0); "
        "`JensenShannon` if some of them are wrong; `SymmetricKL` between two predictions that shall agree; "
        "`Distillation` between a student and its teacher.",
        ("KLDivergence", "JensenShannon", "SymmetricKL", "Distillation"),
    ),
    Family(
        "Adversarial robustness",
        "`TRADES` says by beta how much accuracy to give for robustness; `MART` looks at the elements that are "
        "misread even without an attack. Attacks are in `lightning_losses.attacks`.",
        ("TRADES", "MART"),
    ),
    Family(
        "Segmentation",
        "Begin with `DiceCE`; `CrossEntropy` alone if objects are large. `Tversky` if a missed pixel is worse than "
        "a false one or the reverse, `FocalTversky` if small structures stay behind, `GeneralizedDice` if class "
        "sizes differ by orders of magnitude. `LovaszSoftmax` (or `LovaszHinge` for one region) to gain the last "
        "points of IoU after training with cross-entropy. `Boundary` beside one of them, never alone. "
        "`SoftmaxFocal` is above.",
        (
            *("DiceCE", "Dice", "GeneralizedDice", "Tversky", "FocalTversky", "LovaszSoftmax", "LovaszHinge"),
            "Boundary",
        ),
    ),
    Family(
        "Boxes",
        "`GIoU` or `DIoU`: unlike `IoU` they have a gradient between boxes that do not meet; `DIoU` pulls them "
        "straight together, `CIoU` also fits the aspect ratio. Detectors add `SmoothL1` of the encoded corners or "
        "use it instead.",
        ("IoU", "GIoU", "DIoU", "CIoU"),
    ),
    Family(
        "Embeddings",
        "With views or few labels per class, `InfoNCE`, which needs large batches. With many classes that are all "
        "seen in training, `ArcFace`, and `CurricularFace` once that works. `Triplet` and `Contrastive` with small "
        "batches that hold several samples per class.",
        ("InfoNCE", "Triplet", "Contrastive", "ArcFace", "CurricularFace"),
    ),
    Family(
        "Ranking",
        "`PairwiseLogistic` for any grades; `LambdaRank` if NDCG or only the top places count; `ListNet` if scores "
        "shall follow the relevances, `ListMLE` if the whole order is known.",
        ("PairwiseLogistic", "LambdaRank", "ListNet", "ListMLE"),
    ),
    Family(
        "Generative adversarial networks",
        "A discriminator's loss and its generator's go together, in two LossModules. Begin with the relativistic "
        "pair, `R1` and `R2` (R3GAN), or with `LogisticDiscriminator`, `NonSaturatingGenerator` and `R1`. Hinges "
        "are cheap and usual with spectral norms; Wasserstein's need `GradientPenalty`. `MutualInformation` keeps "
        "codes readable in the samples (InfoGAN), `GaussianNLL` continuous ones.",
        (
            *("LogisticDiscriminator", "NonSaturatingGenerator", "MinimaxGenerator"),
            *("RelativisticDiscriminator", "RelativisticGenerator", "HingeDiscriminator", "HingeGenerator"),
            *("LeastSquaresDiscriminator", "LeastSquaresGenerator"),
            *("WassersteinDiscriminator", "WassersteinGenerator"),
            *("GradientPenalty", "R1", "R2", "MutualInformation"),
        ),
    ),
    Family(
        "Weights of a model",
        "`L2` for small weights, `L1` for few, `ElasticNet` between them; with Adam prefer AdamW's weight decay to "
        "`L2`. `EWC` for weights that earlier tasks need. `Rounding` and `RoundingDecision` prepare weights for "
        "quantisation.",
        ("L1", "L2", "ElasticNet", "EWC", "Rounding", "RoundingDecision"),
    ),
)
