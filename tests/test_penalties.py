"""Penalties on parameters: which count, what they are worth, what they pull at."""

import math
import pickle
import re

import pytest
import torch
from torch import Tensor, nn

from lightning_losses import LossModule, Term, losses
from lightning_losses.losses import L1, L2, ElasticNet

PENALTIES = [L1(), L2(), ElasticNet(l1_ratio=0.3)]


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(6, 4)).double()


def by_hand(weights: list[Tensor], l1: float, l2: float) -> float:
    return sum(l1 * abs(w) + l2 / 2 * w * w for weight in weights for w in weight.flatten().tolist())


@pytest.mark.parametrize(("loss", "l1", "l2"), [(PENALTIES[0], 1, 0), (PENALTIES[1], 0, 1), (PENALTIES[2], 0.3, 0.7)])
def test_the_weights_of_layers_count_and_biases_and_norms_do_not(loss, l1: float, l2: float) -> None:
    model = make_model()
    value = loss(model)
    value.backward()
    assert value.item() == pytest.approx(by_hand([model[0].weight, model[3].weight], l1, l2))
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"0.weight", "3.weight"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"include": ["*"]}, ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]),
        ({"include": ["3.*"]}, ["3.weight", "3.bias"]),
        ({"include": ["0.weight", "1.*"]}, ["0.weight", "1.weight", "1.bias"]),
        ({"exclude": ["0.*"]}, ["3.weight"]),
        ({"include": ["*"], "exclude": ["*bias", "1.*"]}, ["0.weight", "3.weight"]),
    ],
    ids=str,
)
def test_patterns_choose(options: dict, names: list[str]) -> None:
    assert list(L1(**options).weights(make_model())) == names


@pytest.mark.parametrize("loss", PENALTIES, ids=repr)
def test_derivatives(loss) -> None:
    def penalty(*weights: Tensor) -> Tensor:
        return torch.func.functional_call(Penalised(loss), dict(zip(names, weights, strict=True)), ())

    names = [f"model.{name}" for name in loss.weights(make_model())]
    weights = [w.detach().clone().requires_grad_() for w in loss.weights(make_model()).values()]
    assert torch.autograd.gradcheck(penalty, weights)
    assert torch.autograd.gradgradcheck(penalty, weights)


class Penalised(nn.Module):
    """A model whose value is the penalty on it."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = make_model(), loss

    def forward(self) -> Tensor:
        return self.loss(self.model)


@pytest.mark.parametrize("loss", PENALTIES, ids=repr)
def test_compiled_is_eager(loss) -> None:
    model = make_model()
    assert torch.equal(torch.compile(loss, fullgraph=True, backend="aot_eager")(model), loss(model))


def test_a_weight_of_0_is_pulled_nowhere() -> None:
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight)
    ElasticNet()(model).backward()
    assert torch.equal(model.weight.grad, torch.zeros(2, 2))


def test_l2_is_the_weight_decay_of_sgd() -> None:
    """The factor 1/2, which some leave out."""
    penalised, decayed = make_model(), make_model()
    (0.1 * L2(include=["*"])(penalised)).backward()
    torch.optim.SGD(penalised.parameters(), lr=0.5).step()
    for parameter in decayed.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.optim.SGD(decayed.parameters(), lr=0.5, weight_decay=0.1).step()
    torch.testing.assert_close(list(penalised.parameters()), list(decayed.parameters()))


def test_tied_weights_count_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert torch.equal(L1()(model), model[0].weight.abs().sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    model = nn.Linear(512, 512, dtype=dtype)
    nn.init.constant_(model.weight, 2.0)
    for loss, value in ((L1(), 2.0 * 512**2), (L2(), 2.0 * 512**2)):
        assert loss(model) == value
        assert loss(model).dtype == torch.float32


def test_as_a_term_it_takes_the_model_and_has_no_reference() -> None:
    model = make_model()
    criterion = LossModule({"fit": losses.MSE(), "sparse": Term(L1(), weight=1e-3, balanced=False)})
    value = criterion(torch.ones(3), torch.zeros(3), model=model)
    torch.testing.assert_close(value, 1 + 1e-3 * L1()(model))
    assert (criterion.terms["sparse"].bounds().lower, criterion.terms["sparse"].bounds().upper) == (0, math.inf)
    assert list(criterion.report.normalized) == ["fit"]


def test_it_prints_the_call_that_makes_it_and_can_be_copied() -> None:
    loss = ElasticNet(l1_ratio=0.2, include=["*.weight"])
    assert repr(loss) == "ElasticNet(l1_ratio=0.2, include=['*.weight'])"
    assert torch.equal(pickle.loads(pickle.dumps(loss))(make_model()), loss(make_model()))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: L1(include=["3.wieght"])(make_model()),
            ValueError,
            "'3.wieght' matches no parameter. Did you mean '3.",
        ),
        (
            lambda: L1(exclude=["head.*"])(make_model()),
            ValueError,
            "'head.*' matches no parameter. Choose from '0.bias'",
        ),
        (lambda: L1()(nn.BatchNorm1d(3)), ValueError, "L1() finds no parameter that counts in BatchNorm1d"),
        (lambda: L2(exclude=["*"])(make_model()), ValueError, "L2(exclude=['*']) finds no parameter that counts"),
        (
            lambda: L1(include="*.weight"),
            TypeError,
            "`include` must be several patterns, found '*.weight'. Write ['*.w",
        ),
        (lambda: ElasticNet(l1_ratio=1.5), ValueError, "`l1_ratio` must be at least 0 and at most 1, found 1.5"),
    ],
)
def test_what_matches_nothing_is_an_error(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
