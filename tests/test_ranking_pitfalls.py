"""Bugs that other implementations of ranking losses have, or had, and errors."""

import math
import re

import pytest
import torch
from torch import Tensor

from lightning_losses.functional import ndcg_change, pairwise_logistic
from lightning_losses.losses import LambdaRank, ListMLE, ListNet, PairwiseLogistic

LOSSES = [PairwiseLogistic(), LambdaRank(), LambdaRank(top=2), ListNet(), ListMLE()]
RELEVANCE = torch.tensor([[3, 1, 0, 1, 2]])


def everything(tensor: Tensor) -> Tensor:
    return torch.ones_like(tensor, dtype=torch.bool)


def test_a_perfect_ranking_of_scores_far_apart_is_worth_nothing() -> None:
    """With a small number inside of the logarithm it was worth 177."""
    scores = torch.linspace(200, 0, 10).unsqueeze(0)
    relevance = torch.arange(10, 0, -1).unsqueeze(0)
    assert float(ListMLE()(scores, relevance)) < 1e-7
    assert float(ListMLE()(-scores, relevance)) == pytest.approx(sum(200 - 200 * i / 9 for i in range(9)), rel=1e-3)


@pytest.mark.parametrize("padding", [0.0, 1e4, -1e4, math.inf, math.nan])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_padding_has_no_part_in_any_query(loss, padding: float, generator) -> None:
    """Padded scores once polluted a normaliser, so that a query's loss depended on the length of the longest one."""
    short, long = torch.randn(1, 3, generator=generator), torch.randn(1, 5, generator=generator)
    scores = torch.cat([torch.cat([short, torch.full((1, 2), padding)], 1), long]).requires_grad_()
    relevance = torch.tensor([[2, 0, 1, 3, 3], [0, 1, 2, 1, 3]])
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])

    found = type(loss)(**({"top": loss.top} if isinstance(loss, LambdaRank) else {}), reduction="none")
    values = found(scores, relevance, mask=mask)
    torch.testing.assert_close(values[:1], found(short, relevance[:1, :3]))
    torch.testing.assert_close(values[1:], found(long, relevance[1:]))
    (gradient,) = torch.autograd.grad(values.sum(), scores)
    assert gradient.isfinite().all()
    assert torch.equal(gradient[0, 3:], torch.zeros(2))


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_weight_repeats_queries(loss, generator) -> None:
    scores, relevance = torch.randn(3, 5, generator=generator), torch.arange(15).reshape(3, 5) % 4
    times = torch.tensor([2, 0, 1])
    repeated = loss(scores.repeat_interleave(times, 0), relevance.repeat_interleave(times, 0))
    torch.testing.assert_close(loss(scores, relevance, times.unsqueeze(1)), repeated)
    nothing = loss(scores, relevance, torch.zeros(3, 1))
    assert nothing == 0


@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[1], LOSSES[2]], ids=repr)
def test_a_query_whose_items_are_equally_relevant_does_not_count(loss, generator) -> None:
    scores = torch.randn(2, 5, generator=generator)
    relevance = torch.cat([RELEVANCE, torch.ones_like(RELEVANCE)])
    torch.testing.assert_close(loss(scores, relevance), loss(scores[:1], RELEVANCE))
    assert loss(scores[1:], relevance[1:]) == 0


@pytest.mark.parametrize("top", [None, 1, 3])
@pytest.mark.parametrize("scores", [[0.0] * 5, [1.0, 0.0, 1.0, 0.0, 0.0], [2.0, 2.0, 0.0, 1.0, 2.0]])
def test_lambda_rank_of_equal_scores_does_not_depend_on_the_order_of_items(scores: list, top: int | None) -> None:
    """With places by the given order, data sorted by relevance make a model that knows nothing look perfect."""
    loss, input = LambdaRank(top=top), torch.tensor([scores])
    expected = loss(input, RELEVANCE)
    assert expected > 0
    for order in ([0, 4, 1, 3, 2], [2, 3, 1, 4, 0]):
        torch.testing.assert_close(loss(input[:, order], RELEVANCE[:, order]), expected)


def test_tied_places_far_down_a_long_list_keep_their_digits() -> None:
    scores = -torch.arange(1000.0).unsqueeze(0)
    scores[0, 999] = scores[0, 998]
    relevance = torch.zeros(1, 1000, dtype=torch.long)
    relevance[0, 999] = 1
    change = ndcg_change(scores, relevance, everything(relevance))[0, 999, 998]
    assert float(change) == pytest.approx(1 / math.log2(1000) - 1 / math.log2(1001), rel=1e-5)


def test_pairs_below_the_top_weigh_nothing() -> None:
    change = ndcg_change(torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]), RELEVANCE, everything(RELEVANCE), top=2)[0]
    assert torch.equal(change[2:, 2:], torch.zeros(3, 3))
    assert change[0, 4] > 0


def test_the_weights_of_lambda_rank_have_no_gradient(generator) -> None:
    scores = torch.randn(1, 5, generator=generator, requires_grad=True)
    mask = everything(RELEVANCE)
    weighted = (pairwise_logistic(scores, RELEVANCE, mask)[0] * ndcg_change(scores.detach(), RELEVANCE, mask)).sum()
    gradients = (torch.autograd.grad(value, scores)[0] for value in (LambdaRank()(scores, RELEVANCE), weighted))
    torch.testing.assert_close(*gradients)


def test_list_mle_takes_the_given_order_of_equally_relevant_items() -> None:
    relevance = torch.tensor([[1, 1, 0]])
    first, second = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 2.0, 0.0]])
    assert ListMLE()(first, relevance) < ListMLE()(second, relevance)


def test_relevances_of_an_unsigned_dtype_do_not_wrap_around() -> None:
    relevance = torch.tensor([[0, 1]], dtype=torch.uint8)
    assert PairwiseLogistic()(torch.tensor([[0.0, 50.0]]), relevance) < 1e-6


def test_a_gain_of_the_greatest_relevance_does_not_overflow() -> None:
    value = LambdaRank()(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[100, 99, 0]]))
    assert value.isfinite()
    assert value > 0


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize(
    ("input", "target", "weight", "message"),
    [
        (torch.zeros(4), torch.zeros(4), None, "`input` must be scores of shape [Q, n], found (4,)"),
        (torch.zeros(2, 4), torch.zeros(2, 3), None, "`target` must be of the shape (2, 4) of `input`, found (2, 3)"),
        (torch.zeros(2, 4), torch.zeros(2, 4), torch.ones(2), "`weight` must be None or of shape (2, 1), found (2,)"),
        (torch.zeros(1, 2), torch.tensor([[0.0, math.nan]]), None, "`target` must be finite relevances, found nan"),
    ],
)
def test_shapes_and_values(loss, input: Tensor, target: Tensor, weight: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(input, target, weight)


def test_gains_need_relevances_in_their_range() -> None:
    with pytest.raises(ValueError, match=re.escape("`target` must be relevances in [0, 100], found '-1..2'")):
        LambdaRank()(torch.zeros(1, 2), torch.tensor([[-1, 2]]))
    with pytest.raises(ValueError, match=re.escape("`top` must be at least 1, found 0")):
        LambdaRank(top=0)
