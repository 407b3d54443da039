"""Against the score of the item that belongs on top."""

from collections.abc import Callable

import torch

from catalogue.curves.classification import one_logit
from catalogue.plot import Curve, Plot, along
from lightning_losses.losses import LambdaRank, ListMLE, ListNet, Loss, PairwiseLogistic

X = "score of the most relevant item, the others' being 0"


def top(loss: Loss, relevances: list[float]) -> Curve:
    """A query whose first item is to be on top."""
    target = torch.tensor([relevances], dtype=torch.float64)
    return along(loss, lambda x: (one_logit(x, len(relevances)), target))


def by_relevance(loss: Loss) -> Plot:
    """The figure of a loss for which the relevance itself matters."""
    curves = {f"relevances {a}, {b}": top(loss, [float(a), float(b)]) for a, b in ((1, 0), (2, 0), (4, 0))}
    return Plot("score of the more relevant item minus the other's", (-5, 5), curves, "Two items.")


def by_length(loss: Loss, relevances: Callable[[int], list[float]], note: str) -> Plot:
    """The figure of a loss for which the length of the list matters."""
    return Plot(X, (-5, 5), {f"{n} items": top(loss, relevances(n)) for n in (2, 4, 8)}, note)


RANKING = {
    "PairwiseLogistic": Plot(
        "score of the more relevant item minus the other's", (-5, 5), {"": top(PairwiseLogistic(), [1.0, 0.0])}
    ),
    "LambdaRank": by_length(LambdaRank(), lambda n: [1.0, *[0.0] * (n - 1)], "One item is relevant."),
    "ListNet": by_relevance(ListNet()),
    "ListMLE": by_length(ListMLE(), lambda n: [float(n - i) for i in range(n)], "All relevances differ."),
}
