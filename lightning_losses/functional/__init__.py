"""Pure per-element formulas: no reduction, no state, a file per family."""

from lightning_losses.functional.angular import add_angle, arcface_logits, curricularface_logits
from lightning_losses.functional.asymmetric import asymmetric
from lightning_losses.functional.boundary import boundary_distance
from lightning_losses.functional.boxes import ciou_loss, cxcywh_to_xyxy, diou_loss, giou_loss, iou_loss
from lightning_losses.functional.classification import binary_cross_entropy, cross_entropy
from lightning_losses.functional.consolidation import anchored_square, path_importance, path_integral
from lightning_losses.functional.contrastive import info_nce, info_nce_range
from lightning_losses.functional.cost import expected_cost
from lightning_losses.functional.distillation import distillation
from lightning_losses.functional.divergences import jensen_shannon, kl_divergence, symmetric_kl
from lightning_losses.functional.focal import sigmoid_focal, softmax_focal
from lightning_losses.functional.fused import eager_formulas
from lightning_losses.functional.fused_focal import fused_sigmoid_focal
from lightning_losses.functional.fused_overlap import fused_overlap_and_likelihood
from lightning_losses.functional.gan import (
    hinge_discriminator,
    least_squares_discriminator,
    least_squares_generator,
    logistic_discriminator,
    minimax_generator,
    non_saturating_generator,
    relativistic_discriminator,
    wasserstein_discriminator,
    wasserstein_generator,
)
from lightning_losses.functional.gradient_penalty import interpolate, norm_deviation, sample_gradients, squared_norm
from lightning_losses.functional.information import gaussian_nll
from lightning_losses.functional.landmarks import adaptive_wing, wing
from lightning_losses.functional.lovasz import lovasz_extension
from lightning_losses.functional.margin import hinge, multi_margin
from lightning_losses.functional.ordinal import coral, coral_label, corn, corn_count, corn_label
from lightning_losses.functional.pairs import (
    batch_all_triplet,
    batch_hard_triplet,
    contrastive_pairs,
    pairwise_distance,
    unit_vectors,
)
from lightning_losses.functional.quantile import empirical_quantile, pinball, quantile_crossing
from lightning_losses.functional.ranking import listmle, listnet, ndcg_change, pairwise_logistic
from lightning_losses.functional.regression import absolute_error, smooth_l1, squared_error
from lightning_losses.functional.robust import berhu, huber, log_cosh
from lightning_losses.functional.robustness import mart, trades
from lightning_losses.functional.rounding import rounding_decision, rounding_error, sine_rounding
from lightning_losses.functional.segmentation import class_overlap, dice_distance, generalized_dice_distance
from lightning_losses.functional.tversky import focal_power, tversky_distance
from lightning_losses.functional.varifocal import varifocal

__all__ = [
    "absolute_error",
    "adaptive_wing",
    "add_angle",
    "anchored_square",
    "arcface_logits",
    "asymmetric",
    "batch_all_triplet",
    "batch_hard_triplet",
    "berhu",
    "binary_cross_entropy",
    "boundary_distance",
    "ciou_loss",
    "class_overlap",
    "contrastive_pairs",
    "coral",
    "coral_label",
    "corn",
    "corn_count",
    "corn_label",
    "cross_entropy",
    "curricularface_logits",
    "cxcywh_to_xyxy",
    "dice_distance",
    "diou_loss",
    "distillation",
    "eager_formulas",
    "empirical_quantile",
    "expected_cost",
    "focal_power",
    "fused_overlap_and_likelihood",
    "fused_sigmoid_focal",
    "gaussian_nll",
    "generalized_dice_distance",
    "giou_loss",
    "hinge",
    "hinge_discriminator",
    "huber",
    "info_nce",
    "info_nce_range",
    "interpolate",
    "iou_loss",
    "jensen_shannon",
    "kl_divergence",
    "least_squares_discriminator",
    "least_squares_generator",
    "listmle",
    "listnet",
    "log_cosh",
    "logistic_discriminator",
    "lovasz_extension",
    "mart",
    "minimax_generator",
    "multi_margin",
    "ndcg_change",
    "non_saturating_generator",
    "norm_deviation",
    "pairwise_distance",
    "pairwise_logistic",
    "path_importance",
    "path_integral",
    "pinball",
    "quantile_crossing",
    "relativistic_discriminator",
    "rounding_decision",
    "rounding_error",
    "sample_gradients",
    "sigmoid_focal",
    "sine_rounding",
    "smooth_l1",
    "softmax_focal",
    "squared_error",
    "squared_norm",
    "symmetric_kl",
    "trades",
    "tversky_distance",
    "unit_vectors",
    "varifocal",
    "wasserstein_discriminator",
    "wasserstein_generator",
    "wing",
]
