"""LossModule: what replaces `a * loss_1 + b * loss_2`."""

import copy
import io
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_losses import Bounds, LossModule, Term
from lightning_losses.balancers import Balancer, DynamicWeightAverage, Fixed, GradNorm, Gramian, Uncertainty
from lightning_losses.losses import MSE
from lightning_losses.schedules import Linear, WarmUp


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, generator=generator, requires_grad=True), torch.randn(6, 3, generator=generator)


def test_it_is_the_hand_written_sum_to_the_bit(pair) -> None:
    input, target = pair
    criterion = LossModule({"a": Term(F.l1_loss, 0.3), "b": Term(F.mse_loss, 0.7), "c": Term(F.huber_loss, 1.1)})
    by_hand = 0.3 * F.l1_loss(input, target) + 0.7 * F.mse_loss(input, target) + 1.1 * F.huber_loss(input, target)
    (expected,) = torch.autograd.grad(by_hand, input)
    (found,) = torch.autograd.grad(criterion(input, target), input)
    assert torch.equal(found, expected)
    torch.testing.assert_close(criterion(input, target), by_hand)


def test_terms_choose_their_inputs_by_position_and_by_name(pair) -> None:
    input, target = pair
    criterion = LossModule(
        {
            "fit": Term(F.mse_loss, inputs={"target": "truth", "input": "guess"}),
            "flat": Term(lambda a: a.abs().mean(), inputs=["guess"]),
        }
    )
    expected = F.mse_loss(input, target) + input.abs().mean()
    torch.testing.assert_close(criterion(guess=input, truth=target), expected)


def test_a_loss_dict_is_taken_as_it_is() -> None:
    """torchvision's detectors and Hugging Face's models return their losses already computed."""
    losses = {"loss_classifier": torch.tensor(2.0), "loss_box_reg": torch.tensor(3.0)}
    criterion = LossModule({"loss_classifier": Term(), "loss_box_reg": Term(weight=0.5)})
    assert criterion(**losses) == 3.5
    assert criterion.report.raw == losses


def test_an_optional_term_may_be_absent_and_another_may_not() -> None:
    criterion = LossModule({"always": Term(), "mask": Term(optional=True)})
    assert criterion(always=torch.tensor(1.0), mask=torch.tensor(2.0)) == 3
    assert criterion(always=torch.tensor(1.0), mask=None) == 1
    assert list(criterion.report.raw) == ["always"]
    with pytest.raises(TypeError, match="Term 'always' needs the input 'always'"):
        criterion(mask=torch.tensor(1.0))


def test_a_loss_module_is_a_term_of_another(pair) -> None:
    input, target = pair
    inner = LossModule({"l1": Term(F.l1_loss, 2.0), "size": Term(lambda z: z.square().mean(), inputs=["latent"])})
    outer = LossModule({"inner": Term(inner, 0.5), "mse": MSE()})
    latent = torch.ones(4)
    expected = 0.5 * (2 * F.l1_loss(input, target) + 1) + F.mse_loss(input, target)
    torch.testing.assert_close(outer(input=input, target=target, latent=latent), expected)
    assert inner.steps == outer.steps == 1
    assert outer.inputs == {"input", "target", "latent", "shared"}


def test_a_regulariser_takes_the_model_and_stays_out_of_the_balance() -> None:
    model = nn.Linear(2, 2)
    penalty = Term(lambda m: sum(p.square().sum() for p in m.parameters()), 0.1, inputs=["model"], balanced=False)
    criterion = LossModule({"a": MSE(), "l2": penalty, "b": MSE()}, balancer=GradNorm())
    features = torch.ones(3, 2, requires_grad=True)
    total = criterion(input=model(features), target=torch.zeros(3, 2), model=model, shared=features)
    weights = criterion.report.weights
    assert list(weights) == ["a", "l2", "b"]
    assert float(weights["l2"]) == pytest.approx(0.1)
    torch.testing.assert_close(total.detach(), sum(criterion.report.weighted.values()))


def test_schedules_follow_the_optimizer_step(pair) -> None:
    criterion = LossModule({"a": Term(MSE(), WarmUp(1.0, steps=4)), "b": Term(MSE(), Linear(1.0, 0.0, steps=2))})
    seen = []
    for _ in range(5):
        criterion(*pair)
        seen.append([float(w) for w in criterion.report.weights.values()])
    assert seen == [[0.0, 1.0], [0.25, 0.5], [0.5, 0.0], [0.75, 0.0], [1.0, 0.0]]
    criterion.eval()
    criterion(*pair)
    assert criterion.steps == 5


def test_with_auto_step_off_the_steps_are_the_users(pair) -> None:
    criterion = LossModule({"a": Term(MSE(), WarmUp(1.0, steps=4))}, auto_step=False)
    for _ in range(3):
        criterion(*pair)
    assert criterion.steps == 0
    criterion.step()
    criterion(*pair)
    assert float(criterion.report.weights["a"]) == 0.25


def test_the_report_holds_detached_parts_that_add_up(pair) -> None:
    criterion = LossModule({"a": Term(F.mse_loss, 2.0), "b": Term(F.l1_loss, 3.0)})
    total = criterion(*pair)
    report = criterion.report
    everything = [report.total, *report.raw.values(), *report.weighted.values(), *report.weights.values()]
    assert not any(t.requires_grad for t in everything)
    torch.testing.assert_close(sum(report.weighted.values()), total.detach())
    assert {k: v.ndim for k, v in report.metrics("train/").items()}.keys() == {
        "train/loss", "train/raw/a", "train/raw/b", "train/weight/a", "train/weight/b", "train/weighted/a", "train/weighted/b",
    }  # fmt: skip


def test_there_is_no_report_before_a_call() -> None:
    with pytest.raises(RuntimeError, match="none yet"):
        _ = LossModule({"a": MSE()}).report


def test_normalised_values_are_one_minus_r_squared(pair) -> None:
    input, target = pair
    criterion = LossModule({"fit": MSE(), "unknown": F.l1_loss, "told": Term(F.l1_loss, bounds=Bounds(0.0, 9.0, 0.5))})
    criterion(*pair)
    normalized = criterion.report.normalized
    expected = F.mse_loss(input, target) / target.var(correction=0)
    assert normalized.keys() == {"fit", "told"}
    torch.testing.assert_close(normalized["fit"].float(), expected.detach())
    torch.testing.assert_close(normalized["told"], 2 * F.l1_loss(input, target).detach())


def test_of_a_stream_the_reference_follows_what_comes() -> None:
    """Each step's sums of y^2, y and counts count by half of the next one's."""
    criterion = LossModule({"fit": MSE()}, reference_decay=0.5)
    batches = [torch.tensor(pair) for pair in ([0.0, 2.0], [10.0, 12.0], [11.0, 15.0])]
    for batch in batches:
        criterion(batch, batch)
    weights = torch.tensor([0.25, 0.25, 0.5, 0.5, 1.0, 1.0])
    values = torch.cat(batches)
    mean = (weights * values).sum() / weights.sum()
    variance = (weights * (values - mean) ** 2).sum() / weights.sum()
    assert float(criterion.report.bounds["fit"].reference) == pytest.approx(float(variance))


@pytest.mark.parametrize("decay", [0.0, 1.0, math.nan])
def test_a_decay_is_between_0_and_1(decay: float) -> None:
    with pytest.raises(ValueError, match="`reference_decay` must be above 0 and below 1"):
        LossModule({"fit": MSE()}, reference_decay=decay)


def test_the_reference_is_learnt_from_the_first_training_batches_only() -> None:
    criterion = LossModule({"fit": MSE()}, reference_steps=2)
    batches = [torch.tensor([0.0, 2.0]), torch.tensor([10.0, 12.0]), torch.tensor([1e6, -1e6])]
    criterion.eval()
    criterion(batches[2], batches[2])
    criterion.train()
    for batch in batches:
        criterion(batch, batch)
    assert float(criterion.report.bounds["fit"].reference) == pytest.approx(26.0)  # Var of 0, 2, 10, 12


def test_the_bounds_of_a_composite_are_the_weighted_sum_of_those_of_its_terms() -> None:
    criterion = LossModule(
        {
            "a": Term(F.l1_loss, 2.0, bounds=Bounds(0.5, 3.0, 1.0)),
            "b": Term(F.l1_loss, 3.0, bounds=Bounds(1.0, 2.0, 1.5)),
        }
    )
    assert criterion.bounds() == Bounds(4.0, 12.0, 6.5)
    assert LossModule({"a": MSE()}, balancer=Uncertainty()).bounds() == Bounds(-math.inf, math.inf)


BALANCERS = {
    "fixed": Fixed,
    "normalised": lambda: Fixed(normalize=True),
    "gradnorm": GradNorm,
    "uncertainty": Uncertainty,
    "dwa": lambda: DynamicWeightAverage(period=2),
    "gramian": lambda: Gramian(lambda g: g.diagonal().rsqrt()),
}


@pytest.mark.parametrize("make", BALANCERS.values(), ids=BALANCERS)
def test_state_survives_a_checkpoint_and_copies(make, pair) -> None:
    def build() -> LossModule:
        return LossModule({"a": Term(MSE(), WarmUp(1.0, 8)), "b": F.l1_loss}, balancer=make())

    def train(criterion: LossModule, steps: int) -> list[float]:
        return [criterion(shared * 2, target, shared=shared).item() for _ in range(steps)]

    shared, target = pair
    criterion, restored = build(), build()
    train(criterion, 5)
    file = io.BytesIO()
    torch.save(criterion.state_dict(), file)
    file.seek(0)
    restored.load_state_dict(torch.load(file, weights_only=True))
    copied = copy.deepcopy(criterion)
    expected = train(criterion, 6)
    assert train(restored, 6) == expected
    assert train(copied, 6) == expected
    if make is not BALANCERS["gramian"]:  # a lambda has no pickle
        assert isinstance(pickle.loads(pickle.dumps(build())), LossModule)


def test_half_precision_values_are_summed_in_single_precision() -> None:
    criterion = LossModule({"a": Term(), "b": Term()})
    total = criterion(a=torch.tensor(60000.0, dtype=torch.float16), b=torch.tensor(60000.0, dtype=torch.float16))
    assert total.dtype == torch.float32
    assert total == 120000


def test_the_formula_is_its_representation() -> None:
    inner = LossModule({"near": MSE(), "far": Term(F.l1_loss, inputs={"input": "x", "target": "y"})})
    criterion = LossModule(
        {"inner": Term(inner, Linear(1.0, 0.5, 10)), "given": Term()}, balancer=Fixed(normalize=True)
    )
    assert repr(criterion) == (
        "LossModule(Linear(start=1.0, end=0.5, steps=10, delay=0) * inner[LossModule("
        "1 * near[MSE()](input, target) + 1 * far[l1_loss](input=x, target=y))](input, target, x, y)"
        " + 1 * given, balanced by Fixed(normalize=True))"
    )


def test_it_compiles(pair) -> None:
    criterion = LossModule({"a": Term(F.mse_loss, 2.0), "b": F.l1_loss})
    compiled = torch.compile(lambda x, y: criterion(x, y), backend="aot_eager")
    torch.testing.assert_close(compiled(*pair), criterion(*pair))


@pytest.mark.parametrize("balancer", [Fixed, GradNorm, Uncertainty])
def test_transforms_of_torch_func_see_the_loss_and_leave_no_trace(balancer, pair) -> None:
    criterion = LossModule({"a": MSE(), "b": Term(F.l1_loss, 0.5)}, balancer=balancer())
    before = str(criterion.state_dict())
    input, target = (tensor.detach() for tensor in pair)
    per_sample = torch.func.vmap(torch.func.grad(lambda x, y: criterion(x, y)))(input, target)
    assert str(criterion.state_dict()) == before
    with pytest.raises(RuntimeError, match="none yet"):
        _ = criterion.report
    criterion.eval()
    rows = [x.clone().requires_grad_() for x in input]
    expected = [torch.autograd.grad(criterion(x, y), x)[0] for x, y in zip(rows, target, strict=True)]
    torch.testing.assert_close(per_sample, torch.stack(expected))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_named(value: float) -> None:
    criterion = LossModule({"fine": Term(), "broken": Term()})
    with pytest.raises(FloatingPointError, match=f"Term 'broken' must be finite, found {value} at step 0"):
        criterion(fine=torch.tensor(1.0), broken=torch.tensor(value))
    lenient = LossModule({"broken": Term()}, nonfinite="ignore")
    assert not torch.isfinite(lenient(broken=torch.tensor(value)))


class Alternate(Balancer):
    def forward(self, losses, priors, present, probe):
        raise NotImplementedError


BAD_MODULES = {
    "no terms": (lambda: LossModule({}), ValueError, "`terms` must be at least one named term"),
    "a dotted name": (lambda: LossModule({"a.b": MSE()}), ValueError, "named by identifiers.*'a.b'"),
    "a reserved name": (lambda: LossModule({"shared": MSE()}), ValueError, "not reserved.*'shared'"),
    "a method's name": (lambda: LossModule({"items": MSE()}), ValueError, "not reserved.*'items'"),
    "a negative weight": (lambda: Term(MSE(), -0.5), ValueError, "`weight` must be at least 0, found -0.5"),
    "a weight that is NaN": (lambda: Term(MSE(), math.nan), ValueError, "`weight` must be .*found nan"),
    "a weight that is a string": (lambda: Term(MSE(), "1"), TypeError, "`weight` must be a number, found '1'"),
    "a loss that is a number": (lambda: Term(3), TypeError, "`loss` must be a callable"),
    "inputs that are a string": (lambda: Term(MSE(), inputs="input"), TypeError, "`inputs` must be a sequence"),
    "nothing to balance": (lambda: LossModule({"a": Term(MSE(), balanced=False)}), ValueError, "balanced=True"),
    "another policy": (lambda: LossModule({"a": MSE()}, nonfinite="warn"), ValueError, "`nonfinite` must be one of"),
}


@pytest.mark.parametrize(("make", "error", "match"), BAD_MODULES.values(), ids=BAD_MODULES)
def test_bad_composition(make, error, match: str) -> None:
    with pytest.raises(error, match=match):
        make()


ONE = torch.tensor([1.0])
BAD_CALLS = {
    "a missing input": (
        lambda c: c(inputt=ONE),
        TypeError,
        "'inputt' is not an input of any term. Did you mean 'input'",
    ),
    "an absent input": (lambda c: c(input=ONE), TypeError, "Term 'fit' needs the input 'target'"),
    "an input of no term": (lambda c: c(ONE, ONE, extra=ONE), TypeError, "'extra' is not an input of any term"),
    "three by position": (lambda c: c(ONE, ONE, ONE), TypeError, "by position, found 3"),
    "one given twice": (lambda c: c(ONE, input=ONE), TypeError, "gives 'input' twice"),
}


@pytest.mark.parametrize(("call", "error", "match"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls(call, error, match: str) -> None:
    with pytest.raises(error, match=match):
        call(LossModule({"fit": F.mse_loss}))


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (lambda x, y: (x - y).square(), ValueError, r"Term 'bad' must return a scalar, found a tensor of shape \(2,\)"),
        (lambda x, y: 1.5, TypeError, "Term 'bad' must return a scalar tensor, found float"),
    ],
    ids=["a vector", "a float"],
)
def test_a_term_must_return_a_scalar_tensor(value, error, match: str) -> None:
    with pytest.raises(error, match=match):
        LossModule({"bad": value})(torch.ones(2), torch.zeros(2))


def test_a_balancer_belongs_to_one_module() -> None:
    balancer = GradNorm()
    LossModule({"a": MSE()}, balancer=balancer)
    with pytest.raises(ValueError, match="one LossModule, found one that balances a"):
        LossModule({"b": MSE()}, balancer=balancer)
