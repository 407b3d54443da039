"""GradNorm: the properties that make it GradNorm, most of which one public implementation or another lacks."""

import copy
import io
import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from lightning_losses import LossModule, Term
from lightning_losses.balancers import GradNorm, gradnorm_gradient
from lightning_losses.losses import MSE


def inner(direction: list[float], scale: float = 1.0):
    """A loss of constant value `scale` whose gradient at the features is scale * direction."""
    vector = torch.tensor(direction)
    return lambda features: scale * (1.0 + vector @ (features - features.detach()))


def run(terms: dict, steps: int, **options: object) -> tuple[LossModule, dict[str, float]]:
    """Balance constant losses for some steps; the mean weights of the last quarter, which the chatter does not blur."""
    criterion = LossModule({name: _term(term) for name, term in terms.items()}, balancer=GradNorm(**options))
    features = torch.zeros(2, requires_grad=True)
    late: list[Tensor] = []
    for step in range(steps):
        criterion(features=features, shared=features)
        if step >= 3 * steps // 4:
            late.append(torch.stack(list(criterion.report.weights.values())))
    return criterion, dict(zip(terms, torch.stack(late).mean(0).tolist(), strict=True))


def _term(term) -> Term:
    return term if isinstance(term, Term) else Term(term, inputs=["features"])


class Trunk(nn.Module):
    """Two layers shared by heads of different sizes, one head a task."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(8, 1 + i) for i in range(tasks))

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        features = self.trunk(x)
        return features, {f"t{i}": (head(features) - i).square().mean() for i, head in enumerate(self.heads)}


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0])
def test_closed_form_is_the_gradient_of_the_objective(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        weights, norms, rates, priors = 10 ** torch.randn(4, 5, generator=generator, dtype=torch.float64)
        leaf = weights.clone().requires_grad_()
        magnitude = leaf * norms
        target = (magnitude.mean() * priors * rates**alpha).detach()
        (expected,) = torch.autograd.grad((magnitude - target).abs().sum(), leaf)
        torch.testing.assert_close(gradnorm_gradient(weights, norms, rates, priors, alpha), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_balance_point_is_reached(alpha: float) -> None:
    norms, initial = [1.0, 3.0, 0.2], {"a": 1.0, "b": 2.0, "c": 0.5}
    terms = {name: inner([norm, 0.0]) for name, norm in zip("abc", norms, strict=True)}
    _, weights = run(terms, 4000, alpha=alpha, lr=0.005, initial_losses=initial)
    rates = torch.tensor([1 / value for value in initial.values()])
    expected = (rates / rates.mean()) ** alpha / torch.tensor(norms)
    expected = 3 * expected / expected.sum()
    torch.testing.assert_close(torch.tensor(list(weights.values())), expected, rtol=0.02, atol=0)


def test_priors_are_the_ratio_of_the_balanced_gradients() -> None:
    terms = {
        "a": Term(inner([1.0, 0.0]), weight=3.0, inputs=["features"]),
        "b": Term(inner([0.0, 5.0]), weight=1.0, inputs=["features"]),
    }
    _, weights = run(terms, 4000, alpha=0.0, lr=0.005)
    assert weights["a"] * 1.0 / (weights["b"] * 5.0) == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize("scale", [1e-3, 1e-1, 10.0, 1e3])
def test_scaling_a_loss_changes_nothing(scale: float) -> None:
    _, plain = run({"a": inner([1.0, 0.0]), "b": inner([0.0, 1.0])}, 4000, lr=0.01, min_weight=1e-5)
    _, scaled = run({"a": inner([1.0, 0.0], scale), "b": inner([0.0, 1.0])}, 4000, lr=0.01, min_weight=1e-5)
    assert scaled["a"] * scale / scaled["b"] == pytest.approx(plain["a"] / plain["b"], rel=0.05)


def test_the_weight_of_a_slower_task_rises() -> None:
    terms = {"slow": inner([1.0, 0.0]), "fast": inner([0.0, 1.0])}
    _, weights = run(terms, 400, initial_losses={"slow": 1.0, "fast": 10.0})
    assert weights["slow"] > 1.2 > 0.8 > weights["fast"]


@pytest.mark.parametrize("alpha", [0.0, 1.5, 3.0])
def test_weights_stay_positive_and_sum_to_the_number_of_terms(alpha: float) -> None:
    generator = torch.Generator().manual_seed(1)
    names = ["a", "b", "c", "d"]
    balancer = GradNorm(alpha=alpha, lr=0.5)
    criterion = LossModule({n: Term(inputs=[n]) for n in names}, balancer=balancer)
    features = torch.ones(3, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(300):
            factors = 10 ** (4 * torch.randn(4, generator=generator).clamp(-2, 2))
            losses = dict(zip(names, (factors * features.square().sum()).unbind(), strict=True))
            criterion(**losses, shared=features)
            weights = balancer.log_weights.exp()
            assert (weights > 0).all()
            assert float(weights.sum()) == pytest.approx(4.0, rel=1e-5)


@pytest.mark.parametrize("place", ["features", "parameters"])
@pytest.mark.parametrize("tasks", [2, 4])
def test_the_model_receives_exactly_the_gradient_of_the_weighted_sum(place: str, tasks: int) -> None:
    torch.manual_seed(0)
    model = Trunk(tasks)
    criterion = LossModule({f"t{i}": Term() for i in range(tasks)}, balancer=GradNorm())
    for _ in range(5):
        x = torch.randn(16, 6)
        model.zero_grad()
        features, losses = model(x)
        criterion(**losses, shared=features if place == "features" else model.trunk[2]).backward()
        balanced = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        _, losses = model(x)
        weights = criterion.report.weights
        sum(weights[name] * loss for name, loss in losses.items()).backward()
        assert all(torch.equal(a, p.grad) for a, p in zip(balanced, model.parameters(), strict=True))


@pytest.mark.parametrize("place", ["features", "parameters"])
def test_micro_batches_are_one_batch(place: str) -> None:
    torch.manual_seed(0)
    model = Trunk(3).double()
    whole, parts = (LossModule({f"t{i}": Term() for i in range(3)}, balancer=GradNorm(), auto_step=False) for _ in "ab")
    for _ in range(20):
        x = torch.randn(32, 6, dtype=torch.float64)
        for criterion, chunks in ((whole, 1), (parts, 4)):
            for chunk in x.chunk(chunks):
                features, losses = model(chunk)
                criterion(**losses, shared=features if place == "features" else model.trunk[2].weight)
            criterion.step()
    torch.testing.assert_close(whole.balancer.log_weights, parts.balancer.log_weights, rtol=1e-5, atol=1e-6)
    assert float(whole.balancer.log_weights.abs().max()) > 0.1


def test_evaluation_teaches_nothing() -> None:
    """Lightning's sanity check runs in evaluation mode before training: L(0) must not come from it."""
    criterion = LossModule({"a": Term(inner([1.0, 0.0], 100.0), inputs=["features"])}, balancer=GradNorm())
    features = torch.zeros(2, requires_grad=True)
    before = copy.deepcopy(criterion.state_dict())
    criterion.eval()
    with torch.no_grad():
        criterion(features=features)
    criterion(features=features, shared=features)
    assert str(criterion.state_dict()) == str(before)


def test_resuming_in_the_middle_is_bit_exact() -> None:
    def training(criterion: LossModule, model: Trunk, first: int, last: int) -> None:
        for step in range(first, last):
            x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
            features, losses = model(x)
            criterion(**losses, shared=features)

    model = Trunk(3)
    make = lambda: LossModule({f"t{i}": Term() for i in range(3)}, balancer=GradNorm(update_every=2, initial_steps=4))  # noqa: E731
    uninterrupted, stopped, resumed = make(), make(), make()
    training(uninterrupted, model, 0, 20)
    training(stopped, model, 0, 7)
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    training(resumed, model, 7, 20)
    assert torch.equal(uninterrupted.balancer.log_weights, resumed.balancer.log_weights)
    assert str(uninterrupted.state_dict()) == str(resumed.state_dict())


def test_initial_losses_are_averaged_over_the_first_steps() -> None:
    criterion = LossModule({"a": Term()}, balancer=GradNorm(initial_steps=3))
    features = torch.ones(1, requires_grad=True)
    for value in (1.0, 2.0, 6.0, 100.0):
        criterion(a=value * features.sum(), shared=features)
    assert float(criterion.balancer.initial_sum / criterion.balancer.initial_count) == pytest.approx(3.0)


def test_update_every_keeps_the_weights_in_between() -> None:
    criterion = LossModule({"a": Term(), "b": Term()}, balancer=GradNorm(update_every=3))
    features = torch.ones(1, requires_grad=True)
    seen = []
    for _ in range(7):
        criterion(a=features.sum(), b=5 * features.sum(), shared=features)
        seen.append(float(criterion.report.weights["a"]))
    assert seen[1] == seen[2] == seen[3] != seen[4] == seen[5] == seen[6]


def test_a_term_without_gradient_is_left_out_and_not_averaged_as_zero() -> None:
    criterion = LossModule({"a": Term(), "b": Term(), "mute": Term()}, balancer=GradNorm(alpha=0.0))
    features = torch.ones(1, requires_grad=True)
    for _ in range(200):
        criterion(a=features.sum(), b=features.sum(), mute=1 + 0 * features.sum(), shared=features)
    weights = {name: float(w) for name, w in criterion.report.weights.items()}
    assert weights == pytest.approx({"a": 1.0, "b": 1.0, "mute": 1.0}, abs=1e-5)


def test_a_batch_without_a_term_leaves_its_weight_relative_to_the_rest() -> None:
    criterion = LossModule({"a": Term(optional=True), "b": Term()}, balancer=GradNorm())
    features = torch.ones(1, requires_grad=True)
    for _ in range(10):
        criterion(b=features.sum(), shared=features)
    assert list(criterion.report.weights) == ["b"]
    assert criterion.balancer.log_weights.exp().tolist() == pytest.approx([1.0, 1.0])
    assert criterion.balancer.initial_count.tolist() == [0.0, 1.0]


def test_an_overflow_changes_no_state_of_the_weights() -> None:
    criterion = LossModule({"a": Term(), "b": Term()}, balancer=GradNorm())
    features = torch.ones(1, requires_grad=True)
    for _ in range(3):
        criterion(a=features.sum(), b=2 * features.sum(), shared=features)
    before = criterion.balancer.log_weights.clone(), criterion.balancer.adam_mean.clone()
    steep = 2 + (features - 1).sqrt().sum()  # a finite value with an infinite gradient
    criterion(a=features.sum(), b=steep, shared=features)
    assert torch.equal(criterion.balancer.log_weights, before[0])
    assert torch.equal(criterion.balancer.adam_mean, before[1])


def test_a_stuck_term_is_named() -> None:
    criterion = LossModule({"huge": Term(), "small": Term()}, balancer=GradNorm(lr=0.5, min_weight=0.01))
    features = torch.ones(1, requires_grad=True)
    with pytest.warns(UserWarning, match="'huge' has been at its limit"):
        for _ in range(250):
            criterion(huge=1e6 * features.sum(), small=features.sum(), shared=features)


def test_half_precision_features_do_not_lose_small_gradients() -> None:
    features = torch.ones(64, dtype=torch.float16, requires_grad=True)
    norms = []
    for tiny in (1e-3, 1e-9):
        criterion = LossModule({"a": Term(), "b": Term()}, balancer=GradNorm(alpha=0.0))
        criterion(a=tiny * (1 + features.float().sum()), b=tiny * (1 + 2 * features.float().sum()), shared=features)
        norms.append(criterion.balancer.log_weights.clone())
    torch.testing.assert_close(norms[0], norms[1])
    assert norms[0][0] > norms[0][1]


def test_a_model_cast_to_half_precision_keeps_single_precision_statistics() -> None:
    model = nn.ModuleDict({"criterion": LossModule({"a": MSE()}, balancer=GradNorm())}).to(torch.bfloat16)
    assert {b.dtype for b in model["criterion"].balancer.buffers()} == {torch.float32}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1}, "`alpha` must be at least 0 and at most 3, found -1"),
        ({"alpha": 4.0}, "`alpha`"),
        ({"lr": 0}, "`lr` must be above 0, found 0"),
        ({"update_every": 0}, "`update_every`"),
        ({"min_weight": 0.0}, "`min_weight`"),
        ({"max_weight": 0.5}, "`max_weight`"),
        ({"alpha": math.nan}, "`alpha`"),
        ({"initial_losses": {"a": 0.0}}, r"`initial_losses\[a\]` must be above 0"),
    ],
)
def test_bad_hyperparameters(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradNorm(**options)


def test_initial_losses_of_an_unknown_term() -> None:
    with pytest.raises(ValueError, match="found 'dise'. Did you mean 'dice'"):
        LossModule({"dice": MSE()}, balancer=GradNorm(initial_losses={"dise": 1.0}))


def test_a_negative_loss_is_named() -> None:
    criterion = LossModule({"good": Term(), "bad": Term()}, balancer=GradNorm())
    features = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="'bad' must not be negative.*found -2 at step 0"):
        criterion(good=features.sum(), bad=-2 * features.sum(), shared=features)


def test_a_batch_without_labels_of_a_term_leaves_it_out() -> None:
    """Its loss of 0 is neither L(0) nor a rate, and the weights then move as if the first batch had not been."""
    makers = [LossModule({"a": Term(), "b": Term()}, balancer=GradNorm()) for _ in range(2)]
    features = torch.ones(2, requires_grad=True)
    for criterion, batches in zip(makers, ([0.0, 1.0, 0.0, 3.0], [1.0, 3.0]), strict=True):
        for labels in batches:
            criterion(a=features.square().sum(), b=labels * features.exp().sum(), shared=features)
    first, second = (criterion.balancer for criterion in makers)
    assert torch.equal(first.initial_sum, second.initial_sum)
    assert torch.equal(first.adam_count, torch.tensor([4.0, 2.0]))
    assert torch.isfinite(first.log_weights).all()


def test_gradients_that_are_never_usable_are_warned_of() -> None:
    criterion = LossModule({"a": Term(), "b": Term()}, balancer=GradNorm())
    features = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="no usable gradient for 100 updates"):
        for _ in range(100):
            flat = torch.relu(-features).sum()
            criterion(a=flat + 1, b=flat + 2, shared=features)
