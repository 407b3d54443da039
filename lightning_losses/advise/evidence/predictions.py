"""Predicted classes beside true ones: confidence, and whether mistakes follow an order of the classes."""

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from lightning_losses.advise.findings import Finding
from lightning_losses.advise.statistics import Array, mean_error, normal

OVERCONFIDENCE = 0.04
ORDER = 0.02
LEAST_CLASSES = 5  # of four there are 12 orders that differ: the best of them is no evidence


def probabilities(predictions: Array) -> Array:
    """Predictions [N, C] as distributions: as they are if they sum to 1, else the softmax of them."""
    if predictions.min() >= 0 and np.allclose(predictions.sum(1), 1, atol=1e-3):
        return predictions
    exponentials = np.exp(predictions - predictions.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True))


def overconfidence(predicted: Array, labels: Array) -> Finding:
    """Mean confidence minus accuracy.

    Args:
        predicted: distributions [N, C].
        labels: [N].
    """
    gap = predicted.max(1) - (predicted.argmax(1) == labels)
    value = float(gap.mean())
    source = "uncalibrated networks are typically 4 to 10 % off (Guo et al. 2017)"
    return Finding("confidence - accuracy", value, value - normal() * mean_error(gap), OVERCONFIDENCE, source)


def order(predicted: Array, labels: Array, num_classes: int) -> Finding | None:
    r"""How probable it is that mistakes were as near to the truth, had the classes been numbered at random.

    The test is exact: of all orders, or of the given one and 9999 random ones, the share under which the mean of
    \|predicted - true\| over the mistakes is as small as under the given one. So it is never 0.

    Args:
        predicted: labels [N].
        labels: [N].
        num_classes: C.

    Returns:
        None where there is no mistake or fewer than 5 classes.
    """
    wrong = predicted != labels
    if num_classes < LEAST_CLASSES or not wrong.any():
        return None
    confusion = np.zeros((num_classes, num_classes))
    np.add.at(confusion, (labels[wrong], predicted[wrong]), 1)
    rows, columns = np.nonzero(confusion)
    weights = confusion[rows, columns]
    given = float((np.abs(rows - columns) * weights).sum())
    as_near = [(np.abs(new[rows] - new[columns]) * weights).sum() <= given for new in _orders(num_classes)]
    value = float(np.mean(as_near))
    source = "what the best of the 60 orders of five classes can reach is 0.017"
    return Finding("chance that a random order fits the mistakes so well", value, value, ORDER, source, below=True)


def _orders(num_classes: int) -> Iterator[Array]:
    if num_classes <= 7:  # 5040 orders
        yield from map(np.array, permutations(range(num_classes)))
        return
    yield np.arange(num_classes)
    draw = np.random.default_rng(0)
    for _ in range(9999):
        yield draw.permutation(num_classes)
