"""Bugs that other losses of classification have, or had."""

import math

import pytest
import torch
import torch.nn.functional as F

from lightning_losses.functional import coral_label, corn_label
from lightning_losses.losses import (
    CORAL,
    CORN,
    Asymmetric,
    CostSensitive,
    CrossEntropy,
    Distillation,
    JensenShannon,
    KLDivergence,
    Loss,
    MultiMargin,
    SigmoidFocal,
)


def test_a_confident_mistake_about_a_positive_is_neither_capped_nor_without_gradient() -> None:
    """With 1e-8 added inside of the logarithm it costs 18.4, whatever the logit, and nothing pulls it back."""
    for dtype in (torch.float32, torch.float16):
        logit = torch.tensor([-100.0], dtype=dtype, requires_grad=True)
        value = Asymmetric()(logit, torch.tensor([1]))
        assert value == 100
        assert torch.autograd.grad(value, logit)[0] == -1


def test_the_asymmetric_loss_is_a_mean() -> None:
    one = Asymmetric()(torch.zeros(1, 1), torch.ones(1, 1))
    assert Asymmetric()(torch.zeros(64, 80), torch.ones(64, 80)).item() == pytest.approx(one.item())


def test_a_negative_below_the_clip_costs_nothing() -> None:
    forgiven = torch.tensor([math.log(0.049 / 0.951)], requires_grad=True)
    value = Asymmetric(gamma_negative=0.5)(forgiven, torch.tensor([0]))
    assert value == 0
    assert torch.autograd.grad(value, forgiven)[0] == 0


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("clip", [0.0, 1e-6, 0.05, 0.9])
def test_the_asymmetric_loss_has_finite_derivatives_on_both_sides_of_the_clip(gamma: float, clip: float) -> None:
    cut = math.log(clip / (1 - clip)) if clip else 0.0
    around = cut + torch.cat([torch.linspace(-width, width, 1001) for width in (1e-6, 1e-3, 1.0, 200.0)])
    logits = around.requires_grad_()
    value = Asymmetric(gamma_negative=gamma, clip=clip)(logits, torch.zeros(len(logits)))
    (first,) = torch.autograd.grad(value, logits, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), logits, materialize_grads=True)
    assert first.isfinite().all()
    assert second.isfinite().all()


def test_each_class_has_its_own_alpha_along_axis_1() -> None:
    input, target = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    values = SigmoidFocal(alpha=[0.1, 0.2, 0.4], gamma=0.0, reduction="none")(input, target)
    torch.testing.assert_close(values[1, :, 2], math.log(2) * torch.tensor([0.1, 0.2, 0.4]))


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_normalized_cross_entropy_of_equal_logits_is_1_for_any_number_of_classes(classes: int) -> None:
    loss = CrossEntropy(normalize=True, label_smoothing=0.1)
    assert loss(torch.zeros(1, classes), torch.tensor([1])).item() == pytest.approx(1)


def test_multi_margin_is_that_of_torch_and_has_a_second_derivative(generator) -> None:
    input, target = torch.randn(9, 4, generator=generator), torch.arange(9) % 4
    for power in (1, 2):
        theirs = F.multi_margin_loss(input, target, p=power, margin=0.7)
        torch.testing.assert_close(MultiMargin(margin=0.7, power=power)(input, target), theirs)
    hessian = torch.func.hessian(lambda x: MultiMargin(power=2)(x, target))(input)
    assert hessian.abs().sum() > 0


def test_a_missed_positive_costs_the_ratio_and_a_false_alarm_1() -> None:
    loss = CostSensitive(false_negative_ratio=10.0)
    sure_of_0 = torch.tensor([[100.0, -100.0]])
    assert loss(sure_of_0, torch.tensor([1])) == 10
    assert loss(-sure_of_0, torch.tensor([0])) == 1
    assert loss(sure_of_0, torch.tensor([0])) == 0


def test_costs_are_of_predicting_the_row_where_the_column_is_true() -> None:
    loss = CostSensitive(cost_matrix=[[0.0, 7.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert loss(torch.tensor([[100.0, 0.0, 0.0]]), torch.tensor([1])).item() == pytest.approx(7)
    assert loss(torch.tensor([[0.0, 100.0, 0.0]]), torch.tensor([0])).item() == pytest.approx(0)


@pytest.mark.parametrize("label", range(5))
def test_grades_are_encoded_and_decoded_without_an_offset(label: int) -> None:
    target = torch.tensor([label])
    above = 50.0 * (2.0 * (torch.arange(4) < label) - 1).unsqueeze(0)  # of a network that is sure
    assert CORAL(classes=5)(above, target) < 1e-6
    assert coral_label(above) == target
    asked = above.where(torch.arange(4) <= label, 50.0)  # CORN does not care about the others
    assert CORN(classes=5)(asked, target) < 1e-6
    assert corn_label(asked) == target


def test_the_mean_of_corn_is_over_the_thresholds_asked(generator) -> None:
    input, target = torch.randn(3, 4, generator=generator), torch.tensor([0, 2, 4])
    answers = [F.softplus(-input[1, 0]), F.softplus(-input[1, 1]), F.softplus(input[1, 2])]
    answers += [F.softplus(input[0, 0]), *F.softplus(-input[2])]
    torch.testing.assert_close(CORN(classes=5)(input, target), sum(answers) / 8)


def test_labels_that_corn_does_not_ask_about_a_threshold_give_it_no_gradient(generator) -> None:
    input = torch.randn(4, 4, generator=generator, requires_grad=True)
    (gradient,) = torch.autograd.grad(CORN(classes=5)(input, torch.tensor([0, 1, 2, 3])), input)
    assert torch.equal(gradient != 0, torch.ones(4, 4).tril().bool())


@pytest.mark.parametrize("loss", [KLDivergence(), JensenShannon(), JensenShannon(share=0.1)], ids=repr)
def test_zeros_in_a_distribution_have_finite_derivatives_with_respect_to_both(loss: Loss) -> None:
    for input in (torch.zeros(1, 3), torch.tensor([[200.0, 0.0, -200.0]]), torch.tensor([[-1e4, 1e4, -1e4]])):
        pair = input.clone().requires_grad_(), torch.tensor([[0.0, 0.0, 1.0]], requires_grad=True)
        first = torch.autograd.grad(loss(*pair), pair, create_graph=True)
        second = torch.autograd.grad(sum(gradient.square().sum() for gradient in first), pair)
        assert all(gradient.isfinite().all() for gradient in (*first, *second))


def test_a_kl_divergence_is_the_mean_over_elements_and_not_over_classes(generator) -> None:
    """``reduction="mean"`` of torch divides by the number of classes too."""
    input = torch.randn(6, 4, generator=generator)
    target = torch.randn(6, 4, generator=generator).softmax(1)
    torch.testing.assert_close(
        KLDivergence()(input, target), F.kl_div(input.log_softmax(1), target, reduction="batchmean")
    )


def test_a_kl_divergence_has_the_gradient_of_cross_entropy_and_ends_at_0(generator) -> None:
    input = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(6, 4, generator=generator, dtype=torch.float64).softmax(1)
    gradients = [torch.autograd.grad(loss(input, target), input)[0] for loss in (KLDivergence(), CrossEntropy())]
    torch.testing.assert_close(*gradients)
    assert KLDivergence()(target.log(), target).item() == pytest.approx(0, abs=1e-12)


def test_distillation_of_an_image_is_the_mean_over_its_pixels(generator) -> None:
    student, teacher = (torch.randn(2, 5, 3, 3, generator=generator) for _ in range(2))
    pixels = [logits.movedim(1, -1).reshape(-1, 5) for logits in (student, teacher)]
    torch.testing.assert_close(Distillation()(student, teacher), Distillation()(*pixels))


def test_the_gradient_of_distillation_keeps_its_size_as_the_temperature_rises(generator) -> None:
    """Without the squared temperature it would fall by its square; at last the loss is half the squared difference."""
    student = torch.randn(8, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(Distillation(temperature=1e4)(student, teacher), student)
    centred = (student - teacher) - (student - teacher).mean(1, keepdim=True)
    torch.testing.assert_close(gradient, centred / 5 / 8, rtol=1e-3, atol=1e-6)


def test_bounds_know_labels_that_are_masked_whatever_they_are() -> None:
    target, mask = torch.tensor([0, -100]), torch.tensor([True, False])
    for loss in (CrossEntropy(label_smoothing=0.1), CostSensitive(cost_matrix=[[0.5, 1.0], [1.0, 0.0]])):
        alone = loss.bounds(loss.statistics(torch.zeros(1, 2), target[:1]))
        assert loss.bounds(loss.statistics(torch.zeros(2, 2), target, mask=mask)) == alone
