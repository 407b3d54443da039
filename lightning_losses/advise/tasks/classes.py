"""Targets that are classes."""

from dataclasses import replace
from typing import Any

import numpy as np

from lightning_losses.advise import evidence, inputs, rules
from lightning_losses.advise.evidence.annotators import Opinions
from lightning_losses.advise.evidence.labels import Labels
from lightning_losses.advise.evidence.multilabel import Multilabel
from lightning_losses.advise.findings import Finding
from lightning_losses.advise.proposal import Proposal
from lightning_losses.advise.statistics import Array
from lightning_losses.checks import message


def classification(
    targets: Any,
    predictions: Any = None,
    num_classes: int | None = None,
    ignore_index: int | None = None,
    annotators: bool = False,
) -> tuple[Labels | Opinions, Proposal]:
    """Labels [N, *], distributions [N, C], or the labels of several annotators [N, A]."""
    given = inputs.array("targets", targets)
    if annotators or (given.dtype.kind == "f" and given.ndim == 2 and (given != given.round()).any()):
        if predictions is not None or ignore_index is not None:
            raise ValueError(message("targets", "labels [N], to go with predictions or ignore_index", given.shape))
        opinions = _votes(given, num_classes) if annotators else _distributions(given)
        return opinions, rules.classes.opinions(opinions)
    labels = inputs.labels("targets", given, ignore_index)
    if labels.ndim == 2 and labels.shape[1] > 2 and labels.max() == 1 and (labels.sum(1) == 1).all():
        raise ValueError(message("targets", "labels, not one-hot: take argmax(1)", labels.shape))
    seen = _seen(labels, predictions, num_classes)
    return seen, rules.classes.classification(seen, ignore_index)


def ordinal(
    targets: Any, predictions: Any = None, num_classes: int | None = None, ignore_index: int | None = None
) -> tuple[Labels, Proposal]:
    """Labels [N] whose order means something."""
    seen = _seen(inputs.labels("targets", targets, ignore_index), predictions, num_classes)
    return seen, rules.classes.ordinal(seen, max(len(seen.counts), 2), ignore_index)


def multilabel(targets: Any) -> tuple[Multilabel, Proposal]:
    """0 or 1 [N, C]."""
    given = inputs.array("targets", targets)
    if given.ndim != 2:
        raise ValueError(message("targets", "of shape [N, C]", given.shape))
    if not np.isin(given, (0, 1)).all():
        raise ValueError(message("targets", "0 or 1 everywhere", given[~np.isin(given, (0, 1))].flat[0].item()))
    seen = evidence.multilabel.look(given.astype(np.int64))
    return seen, rules.classes.multilabel(seen)


def _seen(labels: Array, predictions: Any, num_classes: int | None) -> Labels:
    """Evidence of labels, -1 being ignored, and of predictions if there are any."""
    if num_classes is not None and labels.max() >= num_classes:
        raise ValueError(message("targets", f"class indices below num_classes={num_classes}", int(labels.max())))
    counted = labels >= 0
    seen = evidence.labels.look(labels[counted], num_classes, int(counted.sum()) if labels.ndim == 1 else len(labels))
    if predictions is None:
        return seen
    given = inputs.array("predictions", predictions)
    inputs.same_length(given, labels)
    if labels.ndim != 1 or given.ndim > 2:
        raise ValueError(message("predictions", "of shape [N] or [N, C] for targets [N]", given.shape))
    return replace(seen, findings={**seen.findings, **_of_predictions(given[counted], labels[counted])})


def _of_predictions(given: Array, labels: Array) -> dict[str, Finding]:
    classes = int(labels.max()) + 1
    if given.ndim == 1:
        guesses = inputs.labels("predictions", given)
        classes = max(classes, int(guesses.max()) + 1)
        found = {}
    else:
        if given.shape[1] < classes:
            raise ValueError(message("predictions", f"of shape [N, C] with C at least {classes}", given.shape))
        shares = evidence.predictions.probabilities(given)
        guesses, classes = shares.argmax(1), given.shape[1]
        found = {"overconfidence": evidence.predictions.overconfidence(shares, labels)}
    order = evidence.predictions.order(guesses, labels, classes)
    return found | ({"order": order} if order else {})


def _votes(given: Array, num_classes: int | None) -> Opinions:
    votes = inputs.labels("targets", given)
    if votes.ndim != 2 or votes.shape[1] < 2:
        raise ValueError(message("targets", "labels [N, A] of two annotators or more", votes.shape))
    return evidence.annotators.look_at_votes(votes, num_classes)


def _distributions(shares: Array) -> Opinions:
    if shares.shape[1] < 2 or shares.min() < 0 or not np.allclose(shares.sum(1), 1, atol=1e-3):
        rule = "labels, or distributions [N, C] whose rows sum to 1"
        raise ValueError(message("targets", rule, f"a row that sums to {shares.sum(1)[0]:.3g}"))
    return evidence.annotators.look_at_distributions(shares)
