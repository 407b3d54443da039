"""Attacks stay inside their limits, raise the loss and leave the model alone; robust losses train on what they make."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_losses import LossModule
from lightning_losses.attacks import fgsm, pgd
from lightning_losses.balls import BALLS
from lightning_losses.losses import MART, TRADES, BCEWithLogits, CrossEntropy

EPSILON = 8 / 255
NORMS = ["linf", "l2"]


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def make_batch(size: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    input = torch.rand(size, 12, generator=generator).mul(1.2).sub(0.1).clamp(0, 1)  # some at the limits
    return input, torch.arange(size) % 3


def attack(model: nn.Module, input: Tensor, target: Tensor, norm: str = "linf", **options) -> Tensor:
    return pgd(model, input, target, CrossEntropy(), EPSILON, steps=7, step_size=EPSILON / 4, norm=norm, **options)


def loss_of(model: nn.Module, input: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(model.eval()(input), target, reduction="none")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("epsilon", [0.0, EPSILON, 0.3, 2.0])
@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_in_the_maximum_norm_not_one_bit_is_outside(dtype: torch.dtype, epsilon: float, scale: float) -> None:
    model, (input, target) = make_model().to(dtype), make_batch()
    input, epsilon = scale * input.to(dtype), scale * epsilon
    options = {"steps": 5, "step_size": epsilon / 3, "bounds": (0.0, scale)}
    for attacked in (
        fgsm(model, input, target, CrossEntropy(), epsilon, bounds=(0.0, scale)),
        pgd(model, input, target, CrossEntropy(), epsilon, **options),
    ):
        assert attacked.dtype == dtype
        assert (attacked - input).abs().max() <= epsilon
        assert 0 <= attacked.min() <= attacked.max() <= scale
        assert torch.equal(attacked, input) == (epsilon == 0)


def test_in_the_euclidean_norm_it_is_inside_up_to_rounding() -> None:
    model, (input, target) = make_model(), make_batch()
    attacked = attack(model, input, target, "l2")
    lengths = (attacked - input).norm(dim=1)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    assert (lengths <= EPSILON * (1 + 1e-5)).all()
    assert (lengths > 0.9 * EPSILON).float().mean() > 0.5


@pytest.mark.parametrize("norm", NORMS)
def test_the_loss_of_almost_every_sample_grows_and_more_than_by_chance(norm: str) -> None:
    model, (input, target) = make_model(), make_batch()
    clean = loss_of(model, input, target)
    attacked = loss_of(model, attack(model, input, target, norm), target)
    chance = loss_of(model, BALLS[norm](input, EPSILON).draw(None).clamp(0, 1), target)
    assert (attacked > clean).float().mean() > 0.95
    assert (attacked - clean).mean() > 3 * (chance - clean).mean().abs()


@pytest.mark.parametrize("norm", NORMS)
def test_of_a_linear_model_the_worst_case_is_known(norm: str) -> None:
    """The margin falls by epsilon times the dual norm of the weights."""
    torch.manual_seed(0)
    model, input = nn.Linear(6, 1).double(), torch.rand(5, 6, dtype=torch.float64)
    target = torch.tensor([[0.0], [1.0], [0.0], [1.0], [1.0]], dtype=torch.float64)
    options = {"norm": norm, "steps": 1, "step_size": 0.1, "random_start": False, "bounds": None}
    attacked = pgd(model, input, target, BCEWithLogits(), 0.1, **options)
    margin = (2 * target - 1) * model(input)
    worst = F.softplus(-(margin - 0.1 * model.weight.norm(p=1 if norm == "linf" else 2)))
    torch.testing.assert_close(F.softplus(-(2 * target - 1) * model(attacked)), worst)
    if norm == "linf":
        assert torch.equal(fgsm(model, input, target, BCEWithLogits(), 0.1, bounds=None), attacked)


@pytest.mark.parametrize("norm", NORMS)
def test_the_model_is_left_as_it_was(norm: str) -> None:
    model, (input, target) = make_model().train(), make_batch()
    model[1].eval()  # as of someone who has frozen it
    criterion = LossModule({"fit": CrossEntropy()})
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    attack(model, input, target, norm, generator=torch.Generator().manual_seed(0))
    pgd(model, input, target, criterion, 0.1, steps=2, step_size=0.1, random_start=False)
    assert [module.training for module in model] == [True, False, True, True, True]
    assert criterion.training
    assert criterion.steps == 0  # a balancer learns nothing from it
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


def test_modes_are_put_back_after_an_error() -> None:
    model, (input, target) = make_model(), make_batch()
    with pytest.raises(RuntimeError):
        attack(model, input[:, :5], target)
    assert all(module.training for module in model.modules())


def test_the_start_is_drawn_from_the_generator() -> None:
    model, (input, target) = make_model(), make_batch()
    seeded = [attack(model, input, target, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(seeded[0], seeded[1])
    assert not torch.equal(seeded[0], seeded[2])


def test_a_sample_is_attacked_as_if_it_were_alone() -> None:
    model, (input, target) = make_model(), make_batch()
    together = attack(model, input, target, random_start=False)
    alone = attack(model, input[:1], target[:1], random_start=False)
    torch.testing.assert_close(together[:1], alone)


@pytest.mark.parametrize("norm", NORMS)
def test_the_ball_is_filled_evenly(norm: str) -> None:
    """In two dimensions a ball of half the radius holds a quarter."""
    points = BALLS[norm](torch.zeros(4000, 2), 1.0).draw(torch.Generator().manual_seed(0))
    lengths = points.norm(dim=1, p=2 if norm == "l2" else torch.inf)
    assert lengths.max() <= 1 + 1e-6
    assert float((lengths < 0.5).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert points.mean(0).abs().max() < 0.05


@pytest.mark.parametrize("slope", [0.0, 1e-30, 1e30])
def test_a_step_has_length_1_or_0_whatever_the_slope(slope: float) -> None:
    ball = BALLS["l2"](torch.zeros(1, 3), 1.0)
    assert float(ball.steepest(torch.tensor([[slope, 0.0, -slope]])).norm()) == pytest.approx(float(slope > 0))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_it_works_in_validation(context) -> None:
    model, (input, target) = make_model(), make_batch()
    expected = attack(model, input, target, random_start=False)
    with context():
        found = attack(model, input.clone(), target.clone(), random_start=False)
    assert torch.equal(found, expected)
    assert not found.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_it_works_under_autocast_on_inputs_of_any_precision(dtype: torch.dtype) -> None:
    model, (input, target) = make_model(), make_batch()
    for given in (input, input.to(dtype)):
        with torch.autocast("cpu", dtype):
            attacked = attack(model, given, target)
        assert attacked.dtype == given.dtype
        assert (attacked.float() - given.float()).abs().max() <= EPSILON + 0.004  # half precision rounds at the end
        assert (loss_of(model, attacked.float(), target) > loss_of(model, given.float(), target)).float().mean() > 0.9


def test_in_float16_a_large_batch_does_not_make_the_gradient_vanish() -> None:
    model = nn.Linear(4, 2, dtype=torch.float16)
    nn.init.constant_(model.weight, 1e-4).data[0] *= -1
    input, target = torch.full((20_000, 4), 0.5, dtype=torch.float16), torch.zeros(20_000, dtype=torch.long)
    assert (fgsm(model, input, target, CrossEntropy(), 0.1) > input).all()


def test_values_of_the_samples_will_do_as_a_loss() -> None:
    model, (input, target) = make_model(), make_batch()
    each = fgsm(model, input, target, CrossEntropy(reduction="none"), EPSILON)
    assert torch.equal(each, fgsm(model, input, target, CrossEntropy(), EPSILON))
    assert torch.equal(each, fgsm(model, input, target, F.cross_entropy, EPSILON))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epsilon": -0.1}, ValueError, "`epsilon` must be at least 0, found -0.1"),
        ({"steps": 0}, ValueError, "`steps` must be at least 1, found 0"),
        ({"step_size": -1.0}, ValueError, "`step_size` must be at least 0, found -1.0"),
        ({"norm": "linfinity"}, ValueError, "`norm` must be one of 'linf', 'l2', found 'linfinity'"),
        ({"input": torch.full((2, 12), -2.0)}, ValueError, "`input` must be inside of `bounds`, 0..1, found '-2..-2'"),
        (
            {"input": torch.full((2, 12), torch.nan)},
            ValueError,
            "`input` must be inside of `bounds`, 0..1, found 'nan..",
        ),
        (
            {"input": torch.zeros(2, 12, dtype=torch.uint8)},
            TypeError,
            "`input` must be of a floating dtype, found torch.",
        ),
    ],
)
def test_bad_arguments_are_named(options: dict, error: type[Exception], message: str) -> None:
    defaults = {"input": torch.zeros(2, 12), "epsilon": 0.1, "steps": 1, "step_size": 0.1}
    with pytest.raises(error, match=re.escape(message)):
        pgd(make_model(), target=torch.tensor([0, 1]), loss=CrossEntropy(), **{**defaults, **options})


# Training on it


ROBUST = [TRADES(), MART()]


@pytest.mark.parametrize("loss", ROBUST, ids=repr)
def test_as_a_term_it_takes_both_logits_and_knows_its_reference(loss) -> None:
    criterion = LossModule({"robust": loss})
    criterion(clean=torch.zeros(4, 3), adversarial=torch.zeros(4, 3), target=torch.tensor([0, 1, 2, 0]))
    assert float(criterion.report.normalized["robust"]) == pytest.approx(1)
    assert repr(loss) == f"{type(loss).__name__}()"
    assert repr(type(loss)(beta=2.0, ignore_index=255)) == f"{type(loss).__name__}(beta=2.0, ignore_index=255)"


@pytest.mark.parametrize("loss", ROBUST, ids=repr)
def test_certain_answers_have_finite_gradients(loss) -> None:
    """A probability of 0 in the target of the divergence made the published code NaN."""
    clean = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    adversarial = torch.tensor([[-1e4, 0.0, 1e4]], requires_grad=True)
    value = loss(clean, adversarial, torch.tensor([0]))
    assert value.isfinite()
    for gradient in torch.autograd.grad(value, (clean, adversarial)):
        assert gradient.isfinite().all()


def test_the_divergence_of_trades_is_summed_over_classes_and_averaged_over_samples() -> None:
    """Torch's reduction "mean" also divides by the number of classes."""
    clean, adversarial = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0))
    target = torch.arange(8) % 5
    divergence = F.kl_div(adversarial.log_softmax(1), clean.softmax(1), reduction="batchmean")
    expected = F.cross_entropy(clean, target) + 6 * divergence
    torch.testing.assert_close(TRADES()(clean, adversarial, target), expected)
    assert TRADES()(clean, clean, target) == CrossEntropy()(clean, target)


@pytest.mark.parametrize("loss", ROBUST, ids=repr)
@pytest.mark.parametrize(
    ("clean", "adversarial", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3), "`adversarial` must be of the shape (2, 3) of `clean`, found (3,)"),
        (torch.zeros(2), torch.zeros(2), "`input` must be of shape [N, C, *]"),
    ],
)
def test_shapes_must_fit(loss, clean: Tensor, adversarial: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(clean, adversarial, torch.tensor([0, 0]))


def test_other_bad_input_of_robust_losses() -> None:
    with pytest.raises(ValueError, match=re.escape("`beta` must be at least 0, found -1.0")):
        TRADES(beta=-1.0)
    with pytest.raises(ValueError, match=re.escape("`clean` must be logits of at least 2 classes, found (2, 1)")):
        MART()(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([0, 0]))


def test_adversarial_training_makes_a_model_robust() -> None:
    """Two numbers of the input tell the classes: one weakly, which an attack cannot turn, one well, which it can."""
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(400) % 2
    sign = (2 * target - 1).unsqueeze(1)
    sturdy = sign * torch.where(torch.rand(400, 1, generator=generator) < 0.85, 1.0, -1.0)
    input = torch.cat([sturdy, 0.1 * sign + 0.02 * torch.randn(400, 1, generator=generator)], 1)
    options = {"steps": 5, "step_size": 0.1, "bounds": None, "generator": generator}

    def accuracy_under_attack(beta: float) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(100):
            attacked = pgd(model, input, target, CrossEntropy(), 0.3, **options)
            optimizer.zero_grad()
            TRADES(beta=beta)(model(input), model(attacked), target).backward()
            optimizer.step()
        attacked = pgd(model, input, target, CrossEntropy(), 0.3, **options)
        return float((model(attacked).argmax(1) == target).float().mean())

    assert accuracy_under_attack(0.0) < 0.7 < 0.75 < accuracy_under_attack(6.0)
