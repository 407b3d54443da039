"""Sums and counts travel; the mean is taken in the last line."""

import pytest
import torch

from lightning_losses.numerics import at_least_float32, safe_divide, widest
from lightning_losses.reduction import Parts, reduce

VALUES = torch.tensor([[1.0, 2.0], [3.0, 6.0]])


def test_the_mean_divides_by_the_counts() -> None:
    assert reduce(Parts(VALUES)) == 3
    assert reduce(Parts(VALUES, torch.tensor([[1.0, 0.0], [2.0, 3.0]]))) == 2
    assert reduce(Parts(VALUES), "sum") == 12
    assert reduce(Parts(VALUES), "none") is VALUES


def test_weights_and_masks_broadcast_over_the_elements() -> None:
    rows = torch.tensor([[1.0], [3.0]])
    assert reduce(Parts(VALUES).weighted(rows, None)) == (1 + 2 + 9 + 18) / 8
    assert reduce(Parts(VALUES).weighted(None, rows > 1)) == 4.5
    assert reduce(Parts(VALUES).weighted(rows, rows > 1)) == 4.5
    twice = Parts(VALUES).weighted(rows, None).weighted(rows, None)
    assert reduce(twice) == reduce(Parts(VALUES).weighted(rows.square(), None))


def test_a_masked_value_is_gone_even_if_it_is_nan() -> None:
    spoilt = torch.tensor([1.0, torch.nan], requires_grad=True)
    total = reduce(Parts(spoilt).weighted(None, torch.tensor([True, False])))
    assert total == 1
    assert torch.equal(torch.autograd.grad(total, spoilt)[0], torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("parts", [Parts(torch.zeros(0)), Parts(VALUES, torch.zeros(2, 2))], ids=["empty", "masked"])
def test_nothing_is_worth_zero(parts: Parts) -> None:
    assert reduce(parts) == 0
    assert reduce(Parts(torch.zeros(0)), "sum") == 0


@pytest.mark.parametrize("shape", [(2, 1, 1), (3,), (3, 2), (1, 2, 2)])
def test_what_would_make_the_values_grow_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"`weight` must be broadcastable to the shape \(2, 2\) of the elements, found"
    ):
        Parts(VALUES).weighted(torch.ones(shape), None)


def test_an_unknown_reduction_is_an_error() -> None:
    with pytest.raises(ValueError, match="`reduction` must be one of 'mean', 'sum', 'none', found 'batchmean'"):
        reduce(Parts(VALUES), "batchmean")


def test_dividing_by_nothing_gives_zero_with_a_zero_gradient() -> None:
    numerator = torch.tensor([6.0, 6.0], requires_grad=True)
    denominator = torch.tensor([3.0, 0.0], requires_grad=True)
    ratio = safe_divide(numerator, denominator)
    gradients = torch.autograd.grad(ratio.sum(), (numerator, denominator))
    assert ratio.tolist() == [2, 0]
    assert [gradient[1].item() for gradient in gradients] == [0, 0]


def test_half_precision_is_widened_and_nothing_is_narrowed() -> None:
    dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    assert [at_least_float32(torch.zeros(1, dtype=d)).dtype for d in dtypes] == [torch.float32] * 3 + [torch.float64]
    assert {widest(torch.zeros(1, dtype=d)).dtype for d in dtypes} == {torch.float64}
