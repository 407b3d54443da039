"""Gradient penalties differentiate a discriminator in its samples, and can be differentiated by its weights."""

import re

import pytest
import torch
from torch import Tensor, nn

from lightning_losses import LossModule, Term, losses
from lightning_losses.functional import interpolate, sample_gradients
from lightning_losses.losses import R1, R2, GradientPenalty

PENALTIES = [GradientPenalty(), GradientPenalty(target=2.0), R1(), R2()]


def make_critic(outputs: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, outputs)).double()


def make_samples(size: int = 4) -> Tensor:
    return torch.randn(size, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize(
    ("loss", "value"),
    [(GradientPenalty(), 16.0), (GradientPenalty(target=2.0), 9.0), (R1(), 12.5), (R2(), 12.5)],
    ids=repr,
)
def test_of_a_linear_critic_it_is_known(loss, value: float) -> None:
    samples = torch.randn(5, 2, 1, 1, requires_grad=True)
    logits = (samples.flatten(1) * torch.tensor([3.0, 4.0])).sum(1)
    assert float(loss(logits, samples)) == pytest.approx(value)


@pytest.mark.parametrize("loss", PENALTIES, ids=repr)
def test_its_derivatives_by_the_weights_are_those_of_finite_differences(loss) -> None:
    critic, samples = make_critic(), make_samples()

    def penalty(weight: Tensor) -> Tensor:
        call = torch.func.functional_call(critic, {"0.weight": weight}, samples)
        return loss(call, samples)

    weight = critic[0].weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(penalty, weight)
    assert torch.autograd.gradgradcheck(penalty, weight)


@pytest.mark.parametrize("loss", PENALTIES, ids=repr)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1e-19, 1e-18, 1e-14, 1e-6, 1e4])
def test_flat_and_steep_critics_have_finite_derivatives(loss, scale: float) -> None:
    """The square root in the norm has none at 0: it gives NaN in most codes."""
    weight = torch.full((3,), scale, requires_grad=True)
    samples = torch.ones(4, 3, requires_grad=True)
    value = loss(samples.sin() @ weight, samples)
    (first,) = torch.autograd.grad(value, weight, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), weight)
    assert value.isfinite()
    assert first.isfinite().all()
    assert second.isfinite().all()


def test_the_reference_is_what_a_constant_critic_scores() -> None:
    criterion = LossModule({"penalty": GradientPenalty(target=2.0)})
    samples = make_samples()
    criterion(interpolated=0 * samples.sum(1), interpolated_samples=samples)
    assert criterion.report.normalized["penalty"] == 1
    assert GradientPenalty(reduction="sum").bounds().reference is None
    assert R1().bounds().reference is None


def test_logits_of_patches_are_added() -> None:
    critic, samples = make_critic(outputs=4), make_samples()
    logits = critic(samples)
    torch.testing.assert_close(R1()(logits.reshape(4, 1, 2, 2), samples), R1()(logits.sum(1), samples))


@pytest.mark.parametrize("loss", PENALTIES, ids=repr)
def test_samples_are_weighed_and_masked_one_by_one(loss) -> None:
    critic, samples = make_critic(), make_samples()
    values = type(loss)(**({"target": loss.target} if loss.inputs[0] == "interpolated" else {}), reduction="none")(
        critic(samples), samples
    )
    assert values.shape == (4,)
    mask, weight = torch.tensor([True, False, True, True]), torch.tensor([1.0, 5.0, 2.0, 0.0])
    torch.testing.assert_close(loss(critic(samples), samples, mask=mask), values[mask].mean())
    torch.testing.assert_close(loss(critic(samples), samples, weight, mask), (values[0] + 2 * values[2]) / 3)
    assert loss(critic(samples), samples, mask=torch.zeros(4, dtype=torch.bool)) == 0


@pytest.mark.parametrize("loss", PENALTIES, ids=repr)
def test_half_precision_is_squared_in_float32(loss) -> None:
    """A gradient of 300 has a square that float16 does not know."""
    samples = torch.ones(2, 3, dtype=torch.float16, requires_grad=True)
    found = loss((samples * 300).sum(1), samples)
    wide = torch.ones(2, 3, requires_grad=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss((wide * 300).sum(1), wide))


def test_an_overflow_is_not_hidden() -> None:
    samples = torch.ones(2, 3, dtype=torch.float16, requires_grad=True)
    criterion = LossModule({"r1": R1()})
    with pytest.raises(FloatingPointError, match="r1"):
        criterion(real=(samples * 300).square().sum(1), real_samples=samples)


@pytest.mark.parametrize("loss", PENALTIES, ids=repr)
def test_it_may_be_part_of_compiled_code(loss) -> None:
    compiled, eager, samples = make_critic(), make_critic(), make_samples()
    torch.compile(loss, backend="aot_eager")(compiled(samples), samples).backward()
    loss(eager(samples), samples).backward()
    assert torch.equal(compiled[0].weight.grad, eager[0].weight.grad)


def test_it_may_be_lazy() -> None:
    criterion = LossModule(
        {"adversarial": losses.RelativisticDiscriminator(), "r1": Term(R1(), weight=8.0, optional=True)}
    )
    critic, samples = make_critic(), make_samples()
    assert "r1" not in report_of(criterion, real=critic(samples), fake=critic(-samples))
    assert "r1" in report_of(criterion, real=critic(samples), fake=critic(-samples), real_samples=samples)


def report_of(criterion: LossModule, **call: Tensor) -> dict[str, Tensor]:
    criterion(**call)
    return criterion.report.raw


@pytest.mark.parametrize(
    ("logits", "samples", "message"),
    [
        (lambda x: x.sum(1), torch.ones(2, 3), "`samples` must be the tensor that the discriminator was called with"),
        (lambda x: x.detach().sum(1), torch.ones(2, 3, requires_grad=True), "one that they do not depend on"),
        (lambda x: torch.ones(2, requires_grad=True), torch.ones(2, 3, requires_grad=True), "do not depend on"),
        (lambda x: x[:1].sum(1), torch.ones(2, 3, requires_grad=True), "`logits` must be of 2 samples, found (1,)"),
    ],
)
def test_samples_without_a_gradient_are_an_error(logits, samples: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        sample_gradients(logits(samples), samples)


def test_without_gradients_it_says_so() -> None:
    critic, samples = make_critic(), make_samples()
    with torch.no_grad(), pytest.raises(ValueError, match="with gradients enabled"):
        R1()(critic(samples), samples)


def test_a_target_of_0_is_another_loss() -> None:
    with pytest.raises(ValueError, match=re.escape("`target` must be above 0, found 0.0")):
        GradientPenalty(target=0.0)


def test_interpolated_samples_lie_between_and_draw_from_the_generator_alone(generator) -> None:
    real, fake = torch.zeros(64, 2, 3), torch.ones(64, 2, 3, requires_grad=True)
    state = torch.get_rng_state()
    mixed = interpolate(real, fake, generator)
    assert torch.equal(state, torch.get_rng_state())
    assert mixed.is_leaf
    assert mixed.requires_grad
    assert torch.equal(mixed, mixed[:, :1, :1].expand_as(mixed))  # one share a sample
    assert 0 <= mixed.min() < 0.1 < 0.9 < mixed.max() <= 1
    assert torch.equal(interpolate(real, fake, generator.manual_seed(0)), mixed)
    with pytest.raises(ValueError, match="`fake` must be of the shape"):
        interpolate(real, fake[1:])
