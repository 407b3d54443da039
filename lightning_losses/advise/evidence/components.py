"""Connected components of a label map: the objects in it."""

import numpy as np

from lightning_losses.advise.statistics import Array


def object_sizes(mask: Array) -> Array:
    """Pixels of each object: neighbours of one class above 0, across edges and not across corners.

    Args:
        mask: class indices [H, W], 0 for the background, below 0 for what does not count.

    >>> object_sizes(np.array([[1, 1, 0], [0, 1, 2], [1, 0, 2]]))
    array([3, 2, 1])
    """
    starts = np.ones(mask.shape, dtype=bool)
    starts[:, 1:] = mask[:, 1:] != mask[:, :-1]
    runs = starts.ravel().cumsum().reshape(mask.shape) - 1  # equal pixels in a row, which there are far fewer of
    down = (mask[1:] == mask[:-1]) & (mask[1:] > 0)
    edges = np.unique(np.stack([runs[:-1][down], runs[1:][down]]), axis=1)
    roots = _join(int(starts.sum()), *edges)
    sizes = np.bincount(roots[runs[mask > 0]])
    return np.asarray(sizes[sizes > 0])


def _join(count: int, first: Array, second: Array) -> Array:
    """For each of `count` nodes the least node that it is connected with.

    Every node points to one of its component. The larger end of an edge's pointers is made to point to the smaller,
    then all pointers are followed to their end; a few rounds of it join everything that is connected.
    """
    parents = np.arange(count)
    while (parents[first] != parents[second]).any():
        one, other = parents[first], parents[second]
        np.minimum.at(parents, np.maximum(one, other), np.minimum(one, other))
        while (parents != parents[parents]).any():
            parents = parents[parents]
    return parents
