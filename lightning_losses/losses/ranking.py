"""Ranking: the items of a query are to be scored in the order of their relevance."""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape, is_readable, message
from lightning_losses.functional.ranking import listmle, listnet, ndcg_change, pairwise_logistic
from lightning_losses.losses.base import Loss
from lightning_losses.reduction import Parts

GREATEST = 100  # the greatest relevance; float32 still holds a gain of 2 to this power


class RankingLoss(Loss):
    """A loss of scores [Q, n] and relevances [Q, n], a query a row: `queries` is its formula.

    A mask [Q, n] deletes items, as those that pad a row; a weight [Q, 1] repeats queries.
    """

    @abstractmethod
    def queries(self, input: Tensor, target: Tensor, mask: Tensor) -> Parts:
        """Values [Q] and counts of the queries, of which `mask` says what items there are."""

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """The queries, weighted."""
        if input.dim() != 2:
            raise ValueError(message("input", "scores of shape [Q, n]", tuple(input.shape)))
        check_same_shape("target", target, "input", input)
        if weight is not None and weight.shape != (len(input), 1):
            raise ValueError(message("weight", f"None or of shape ({len(input)}, 1)", tuple(weight.shape)))
        if is_readable(target) and not target.isfinite().all():
            raise ValueError(message("target", "finite relevances", target[~target.isfinite()][0].item()))
        there = torch.ones_like(target, dtype=torch.bool) if mask is None else mask.expand_as(target)
        of_query = None if weight is None else weight.squeeze(1)
        scores = input.masked_fill(~there, 0.0)  # padding may be NaN
        return self.queries(scores, target, there).weighted(of_query, None)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Equal scores."""
        return torch.zeros_like(input)


class PairwiseLogistic(RankingLoss):
    r"""Pairwise logistic loss, :math:`\log(1 + e^{-(s_i - s_j)})` for each pair of items with :math:`r_i > r_j`.

    For any grades of relevance, of which only the order counts. Scores [Q, n] against relevances [Q, n], a query a row,
    padded where the mask [Q, n] is False. Burges et al., "Learning to rank using gradient descent" (RankNet), 2005.

    Traps: the mean is over all pairs of the batch, so a query with many items has more to say. It needs Q x n x n
    numbers.

    Range :math:`[0, \infty)`; reference: what equal scores cost, :math:`\log 2`.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [Q], the sum over the query's pairs).

    Raises:
        ValueError: shapes that do not fit, a `weight` that is not one number per query [Q, 1], a relevance that is not
            finite.

    >>> import torch
    >>> PairwiseLogistic()(torch.zeros(1, 3), torch.tensor([[2, 0, 1]]))  # log 2
    tensor(0.6931)
    """

    reference = math.log(2)

    def queries(self, input: Tensor, target: Tensor, mask: Tensor) -> Parts:
        """The sum over each query's pairs, and their number."""
        values, pairs = pairwise_logistic(input, target, mask)
        return Parts(values.sum((1, 2)), pairs.sum((1, 2)))


class LambdaRank(RankingLoss):
    r"""LambdaRank: the pairwise logistic loss, each pair weighted by how much NDCG would change if the two swapped.

    :math:`\sum_{r_i > r_j} |\Delta \text{NDCG}_{ij}| \log(1 + e^{-(s_i - s_j)})`. For the top of a list, as NDCG scores
    it: order counts the more the further up it is. Scores [Q, n] against relevances [Q, n] of at least 0, a query a
    row, padded where the mask [Q, n] is False. Burges, "From RankNet to LambdaRank to LambdaMART: an overview", 2010;
    as a loss, Wang et al., "The LambdaLoss framework", 2018. Gains are :math:`2^r - 1`. The mean is over queries in
    which relevances differ.

    Range :math:`[0, \infty)`; reference: what equal scores cost, :math:`\log 2` times the sum of their weights, which
    depends on the relevances seen.

    Trap: the weights have no gradient, and the value jumps where two items swap places.

    Differs from others: items with equal scores are taken to be in any order with the same chance, so that the loss
    does not depend on the order in which they are given. With the given order, data sorted by relevance would
    make a model that knows nothing look perfect.

    Args:
        top: how many places count, at least 1; None for all. Pairs of which neither is among them weigh nothing.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [Q]).

    Raises:
        ValueError: `top` is below 1, shapes that do not fit, a `weight` that is not one number per query [Q, 1], a
            relevance outside of [0, 100].

    >>> import torch
    >>> LambdaRank()(torch.zeros(1, 2), torch.tensor([[1, 0]]))  # (1 - 1 / log2(3)) log 2
    tensor(0.2558)
    """

    def __init__(self, *, top: int | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        if top is not None:
            check_number("top", top, at_least=1)
        self.top = top

    def queries(self, input: Tensor, target: Tensor, mask: Tensor) -> Parts:
        """The weighted sum over each query's pairs."""
        if is_readable(target):
            least, greatest = (limit.item() for limit in torch.aminmax(target))
            if least < 0 or greatest > GREATEST:
                raise ValueError(message("target", "relevances in [0, 100]", f"{least:g}..{greatest:g}"))
        values, pairs = pairwise_logistic(input, target, mask)
        values = values * ndcg_change(input, target, mask, self.top)
        return Parts(values.sum((1, 2)), pairs.any(2).any(1))


class ListNet(RankingLoss):
    r"""ListNet, the cross-entropy :math:`-\sum_i q_i \log p_i` of the chances of each item to be the first.

    For scores that shall follow the relevances, not only their order. :math:`p` is the softmax of a query's scores and
    :math:`q` that of its relevances. Scores [Q, n] against relevances [Q, n], a query a row, padded where the mask [Q,
    n] is False. Cao et al., "Learning to rank: from pairwise approach to listwise approach", 2007, with their top-one
    probabilities.

    Range: from the mean entropy of :math:`q` to :math:`\infty`; reference: what equal scores cost, the mean of
    :math:`\log n`.

    Trap: the scale of the relevances matters: those of 0 to 4 make q nearly certain, for those of 0 and 1 it stays
    nearly uniform.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [Q]).

    Raises:
        ValueError: shapes that do not fit, a `weight` that is not one number per query [Q, 1], a relevance that is not
            finite.

    >>> import torch
    >>> ListNet()(torch.zeros(1, 3), torch.tensor([[2, 0, 1]]))  # log 3
    tensor(1.0986)
    """

    def queries(self, input: Tensor, target: Tensor, mask: Tensor) -> Parts:
        """Cross-entropies, counted where there is an item."""
        return Parts(listnet(input, target, mask), mask.any(1))

    def optimal(self, input: Tensor, target: Tensor) -> Tensor:
        """The relevances themselves."""
        return target.to(input.dtype).nan_to_num()


class ListMLE(RankingLoss):
    r"""ListMLE, minus the log-likelihood of the order of relevance, :math:`\sum_i \log \sum_{j \ge i} e^{s_j} - s_i`.

    For queries of which the whole order is known. The items are in descending order of relevance, and drawn one after
    the other with the chances that the softmax of the scores gives to those left. Scores [Q, n] against relevances [Q,
    n], a query a row, padded where the mask [Q, n] is False. Xia et al., "Listwise approach to learning to rank", 2008.

    Range :math:`[0, \infty)`; reference: what equal scores cost, the mean of :math:`\log n!`, so long lists count more.

    Trap: of equally relevant items the given order is taken to be the true one: shuffle data that come sorted by
    anything else, or prefer `PairwiseLogistic` where grades are few.

    Differs from others: sums of exponentials are taken as logarithms, so that a perfect ranking with
    scores far apart is worth 0, and padded items are in no sum, so that no query depends on the length of the others.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [Q]).

    Raises:
        ValueError: shapes that do not fit, a `weight` that is not one number per query [Q, 1], a relevance that is not
            finite.

    >>> import torch
    >>> ListMLE()(torch.zeros(1, 3), torch.tensor([[2, 0, 1]]))  # log 3!
    tensor(1.7918)
    """

    def queries(self, input: Tensor, target: Tensor, mask: Tensor) -> Parts:
        """Minus log-likelihoods, counted where there is an item."""
        return Parts(listmle(input, target, mask), mask.any(1))
