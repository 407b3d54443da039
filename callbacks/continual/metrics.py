"""What an accuracy matrix says of a training that learnt one task after another."""

from collections.abc import Sequence

Row = Sequence[float]
"""How good a network is at each of the T tasks."""


def average_accuracy(matrix: Sequence[Row]) -> float:
    r"""How good the network is, on average, at the tasks it has learnt: :math:`\frac1t \sum_{j \le t} R_{t,j}`.

    Args:
        matrix: :math:`R_{i,j}`, what was measured on task j when task i had ended; a row for each task that has ended.

    >>> average_accuracy([[0.9, 0.1], [0.5, 0.7]])
    0.6
    """
    last = _seen(matrix)
    return sum(last) / len(last)


def backward_transfer(matrix: Sequence[Row]) -> float:
    r"""What later tasks have added to earlier ones: :math:`\frac1{t-1} \sum_{j < t} (R_{t,j} - R_{j,j})`.

    Negative where they are forgotten. Lopez-Paz and Ranzato, "Gradient episodic memory", 2017, arXiv:1706.08840. 0
    after the first task.

    >>> round(backward_transfer([[0.9, 0.1], [0.5, 0.7]]), 6)
    -0.4
    """
    last = _seen(matrix)
    return _mean([last[j] - matrix[j][j] for j in range(len(matrix) - 1)])


def forgetting(matrix: Sequence[Row]) -> float:
    r"""What is left of the best: :math:`\frac1{t-1} \sum_{j < t} (\max_{i < t} R_{i,j} - R_{t,j})`.

    Chaudhry et al., "Riemannian walk for incremental learning", 2018, arXiv:1801.10112. 0 after the first task.

    >>> round(forgetting([[0.6, 0.1, 0.1], [0.8, 0.7, 0.1], [0.5, 0.6, 0.9]]), 6)
    0.2
    """
    last = _seen(matrix)
    return _mean([max(row[j] for row in matrix[:-1]) - last[j] for j in range(len(matrix) - 1)])


def _seen(matrix: Sequence[Row]) -> Row:
    """The last row up to the last task."""
    if not matrix:
        raise ValueError("`matrix` must have a row for each task that has ended, and none has ended yet.")
    return matrix[-1][: len(matrix)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
