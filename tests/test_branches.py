"""GradNorm that reads the terms' gradients off the ordinary backward."""

import gc
import weakref
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from lightning_losses import LossModule, Term
from lightning_losses.balancers import GradNorm
from lightning_losses.balancers.place import make_probe


class Model(nn.Module):
    """A trunk, a head a term, and losses of unequal scale."""

    def __init__(self, terms: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        self.heads = nn.ModuleDict({name: nn.Linear(8, 3) for name in "abcd"[:terms]})
        self.criterion = LossModule({name: Term() for name in self.heads}, balancer=GradNorm(), auto_step=False)
        self.double()

    def losses(self, starts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: 10**i * head(starts[name]).square().mean() for i, (name, head) in enumerate(self.heads.items())}

    def plain(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The features and the losses, with no branch between them."""
        features = self.trunk(x)
        return features, self.losses(dict.fromkeys(self.heads, features))

    def forward(self, x: Tensor) -> Tensor:
        branches = self.criterion.branch(self.trunk(x))
        return self.criterion(**self.losses(branches), shared=branches)

    def gradients(self) -> list[Tensor | None]:
        found = [parameter.grad for parameter in self.parameters()]
        self.zero_grad()
        return found


@pytest.fixture
def x(generator) -> Tensor:
    return torch.randn(8, 6, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("terms", [2, 4])
@pytest.mark.parametrize("scale", [1.0, 0.25, 65536.0])
def test_the_norms_are_those_of_a_probe_at_the_features(x: Tensor, scale: float, terms: int) -> None:
    model = Model(terms)
    features, losses = model.plain(x)
    expected = make_probe(features, losses).sums(pairwise=False)
    branches = model.criterion.branch(model.trunk(x))
    probe = make_probe(branches, losses := model.losses(branches))
    weights = torch.linspace(0.1, 3.0, terms, dtype=torch.float64)
    (scale * torch.dot(weights, torch.stack(list(losses.values())))).backward()
    torch.testing.assert_close(probe.sums(pairwise=False), expected, rtol=1e-6, atol=0)


def test_total_and_gradients_are_those_of_the_plain_weighted_sum_to_the_bit(x: Tensor) -> None:
    model = Model(2)
    for _ in range(3):
        total = model(x)
        total.backward()
        measured, weights = model.gradients(), model.criterion.report.weights
        plain = sum(weights[name] * loss for name, loss in model.plain(x)[1].items())
        plain.backward()
        assert torch.equal(total, plain)
        assert all(torch.equal(a, b) for a, b in zip(measured, model.gradients(), strict=True))
        model.criterion.step()
    assert weights["a"] != weights["b"]


@pytest.mark.parametrize(
    ("of", "culprit"),
    [("aa", "Term 'b' does not reach"), ("ba", "Term 'a' does not reach"), ("af", "Term 'b' does not reach")],
    ids=["shared", "swapped", "at the features"],
)
def test_a_term_that_does_not_start_from_its_own_branch_is_named(x: Tensor, of: str, culprit: str) -> None:
    model = Model(2)
    features = model.trunk(x)
    branches = model.criterion.branch(features)
    starts = {**branches, "f": features}
    losses = model.losses({name: starts[start] for name, start in zip("ab", of, strict=True)})
    with pytest.raises(ValueError, match=culprit):
        model.criterion(**losses, shared=branches)


def test_terms_that_share_a_head_are_named(x: Tensor) -> None:
    model = Model(2)
    branches = model.criterion.branch(model.trunk(x))
    both = model.heads["a"](branches["a"] + branches["b"])
    with pytest.raises(ValueError, match=r"'a' .* also reaches that of 'b'.*pass shared=features instead"):
        model.criterion(a=both.abs().sum(), b=both.square().sum(), shared=branches)


def test_a_branch_of_no_term_is_refused(x: Tensor) -> None:
    model = Model(2)
    with pytest.raises(KeyError, match="no term 'depth'"):
        model.criterion.branch(model.trunk(x))["depth"]


def test_steps_that_end_before_the_backward_are_refused_with_advice(x: Tensor) -> None:
    model = Model(2)
    model.criterion.auto_step = True
    with pytest.raises(RuntimeError, match=r"auto_step=False.*step\(\) after optimizer.step\(\)"):
        model(x)


def test_in_evaluation_a_branch_is_the_features_themselves(x: Tensor) -> None:
    model = Model(2).eval()
    features = model.trunk(x)
    assert all(branch is features for branch in model.criterion.branch(features).values())


def test_without_gradients_a_branch_is_the_features_themselves(x: Tensor) -> None:
    model = Model(2)
    with torch.no_grad():
        features = model.trunk(x)
        assert model.criterion.branch(features)["a"] is features
        model(x)
    assert not model.criterion.pending


def test_nothing_is_kept_alive_after_the_backward(x: Tensor) -> None:
    model = Model(2)
    gc.collect()
    gc.disable()  # what only the collector can free holds memory for long
    try:
        branches = model.criterion.branch(model.trunk(x))
        losses = model.losses(branches)
        total = model.criterion(**losses, shared=branches)
        total.backward()
        watched = [weakref.ref(tensor) for tensor in (total, *branches.values(), *losses.values())]
        del branches, losses, total
        assert not [reference for reference in watched if reference() is not None]
    finally:
        gc.enable()


def test_four_micro_batches_measure_what_the_whole_batch_does(x: Tensor) -> None:
    whole, parts = Model(2), Model(2)
    whole(x).backward()
    for part in x.chunk(4):
        (parts(part) / 4).backward()
    one, four = (model.criterion.balancer.window.close() for model in (whole, parts))
    torch.testing.assert_close(four.losses, one.losses, rtol=1e-12, atol=0)
    torch.testing.assert_close(four.products, one.products, rtol=1e-12, atol=0)


def test_a_step_that_overflowed_leaves_no_trace(x: Tensor) -> None:
    with_overflow, without = Model(2), Model(2)
    for step in range(3):
        if step == 1:
            (with_overflow(x) * torch.inf).backward()
            with_overflow.criterion.discard()
        for model in (with_overflow, without):
            model(x).backward()
            model.criterion.step()
    found, expected = (model.criterion.state_dict() for model in (with_overflow, without))
    assert found["balancer.log_weights"].any()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_way_past_the_branch_is_refused(x: Tensor) -> None:
    model = Model(2)
    features = model.trunk(x)
    branches = model.criterion.branch(features)
    losses = model.losses(branches)
    losses["b"] = losses["b"] + features.square().mean()
    with pytest.raises(ValueError, match=r"'b' .* also reaches the features past it"):
        model.criterion(**losses, shared=branches)


def test_branches_made_in_evaluation_are_refused_in_training(x: Tensor) -> None:
    model = Model(2)
    model(x).backward()
    model.criterion.step()
    branches = model.eval().criterion.branch(model.trunk(x))
    with pytest.raises(ValueError, match="must be branches of this training call"):
        model.train().criterion(**model.losses(branches), shared=branches)


def test_a_step_that_no_backward_preceded_is_refused_with_advice(x: Tensor) -> None:
    model = Model(2)
    model(x)
    with pytest.raises(RuntimeError, match=r"Call step\(\) after loss.backward\(\)"):
        model.criterion.step()


def test_calls_that_share_a_backward_are_all_measured(x: Tensor) -> None:
    one, two = Model(2), Model(2)
    for part in x.chunk(2):
        (one(part) / 2).backward()
    (torch.stack([two(part) for part in x.chunk(2)]).mean()).backward()
    expected, found = (model.criterion.balancer.window.close() for model in (one, two))
    torch.testing.assert_close(found.products, expected.products, rtol=1e-12, atol=0)


def test_no_branch_waits_for_the_heads_of_the_others(x: Tensor) -> None:
    model, order = Model(4), []
    branches = model.criterion.branch(model.trunk(x))
    losses = {}
    for name, head in model.heads.items():
        branches[name].register_hook(lambda gradient, name=name: order.append(f"branch {name}"))
        output = head(branches[name])
        output.register_hook(lambda gradient, name=name: order.append(f"head {name}"))
        losses[name] = output.square().mean()
    model.criterion(**losses, shared=branches).backward()
    assert order == [f"{part} {name}" for name in list(model.heads)[::-1] for part in ("head", "branch")]


def test_a_term_out_of_the_balance_on_the_branch_of_another_is_named(x: Tensor) -> None:
    model = Model(2)
    criterion = LossModule({"a": Term(), "b": Term(), "size": Term(balanced=False)}, GradNorm(), auto_step=False)
    branches = criterion.branch(model.trunk(x))
    losses = model.losses(branches)
    with pytest.raises(ValueError, match="'size' must be computed from its own branch alone.*'a'"):
        criterion(**losses, size=branches["a"].square().mean(), shared=branches)
    branches = criterion.branch(features := model.trunk(x))
    criterion(**model.losses(branches), size=features.square().mean(), shared=branches)


def test_features_must_be_one_tensor(x: Tensor) -> None:
    with pytest.raises(TypeError, match="`features` must be one tensor"):
        Model(2).criterion.branch([x, x])
