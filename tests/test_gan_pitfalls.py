"""Bugs that other GAN losses have, or had, and the ways in which users call ours."""

import math
import re

import pytest
import torch

from lightning_losses import LossModule, Term, losses
from lightning_losses.losses import (
    GaussianNLL,
    HingeDiscriminator,
    HingeGenerator,
    LeastSquaresDiscriminator,
    LeastSquaresGenerator,
    LogisticDiscriminator,
    MinimaxGenerator,
    MutualInformation,
    NonSaturatingGenerator,
    RelativisticDiscriminator,
    RelativisticGenerator,
    WassersteinDiscriminator,
    WassersteinGenerator,
)

DISCRIMINATORS = [
    LogisticDiscriminator(),
    LeastSquaresDiscriminator(),
    HingeDiscriminator(),
    WassersteinDiscriminator(),
    RelativisticDiscriminator(),
]
GENERATORS = [
    MinimaxGenerator(),
    NonSaturatingGenerator(),
    LeastSquaresGenerator(),
    HingeGenerator(),
    WassersteinGenerator(),
    RelativisticGenerator(),
]


@pytest.mark.parametrize("loss", DISCRIMINATORS + GENERATORS, ids=repr)
def test_as_a_term_it_takes_the_logits_of_real_and_fake_samples(loss, generator) -> None:
    real, fake = torch.randn(2, 5, generator=generator)
    logits = {"real": real, "fake": fake}
    criterion = LossModule({"adversarial": loss})
    needed = {name: logits[name] for name in loss.inputs}
    torch.testing.assert_close(criterion(**needed), loss(*needed.values()))
    assert repr(loss) == f"{type(loss).__name__}()"


@pytest.mark.parametrize("loss", [loss for loss in DISCRIMINATORS if loss.reference is not None], ids=repr)
def test_a_discriminator_that_knows_nothing_is_normalised_to_1(loss) -> None:
    criterion = LossModule({"adversarial": loss})
    constant = torch.full((4,), 0.5 if isinstance(loss, LeastSquaresDiscriminator) else 0.0)
    criterion(real=constant, fake=constant)
    assert float(criterion.report.normalized["adversarial"]) == pytest.approx(1)


@pytest.mark.parametrize("loss", [WassersteinDiscriminator(), WassersteinGenerator(), MinimaxGenerator()], ids=repr)
def test_what_has_no_least_value_is_not_normalised(loss) -> None:
    assert loss.bounds().lower == -math.inf
    assert loss.bounds().normalize(1.0) is None


def test_minimax_and_non_saturating_generators_differ_where_the_discriminator_is_sure() -> None:
    """With log(1 - sigmoid(20)) by probabilities the value would be minus infinity already."""
    for loss, slope in ((MinimaxGenerator(), 0.0), (NonSaturatingGenerator(), -1.0)):
        fake = torch.tensor([-50.0], requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(fake), fake)
        assert float(gradient) == pytest.approx(slope, abs=1e-9)
    assert float(MinimaxGenerator()(torch.tensor([50.0]))) == -50


def test_a_relativistic_generator_plays_the_discriminators_game_the_other_way_round(generator) -> None:
    """A published one had the wrong sign."""
    real, fake = torch.randn(2, 5, generator=generator)
    assert torch.equal(RelativisticGenerator()(fake, real), RelativisticDiscriminator()(fake, real))
    assert RelativisticDiscriminator()(real + 3, real) < math.log(2) < RelativisticGenerator()(real, real + 3)


def test_the_gap_of_a_wasserstein_critic_is_minus_its_loss() -> None:
    assert WassersteinDiscriminator()(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0])) == -1


@pytest.mark.parametrize("loss", [*DISCRIMINATORS, RelativisticGenerator()], ids=repr)
def test_logits_are_not_broadcast_into_pairs(loss) -> None:
    """A real batch [N, 1] against a fake one [N] would be N x N pairs."""
    first, second = loss.inputs
    with pytest.raises(ValueError, match=re.escape(f"`{second}` must be of the shape (4, 1) of `{first}`, found (4,)")):
        loss(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize("loss", [*DISCRIMINATORS, RelativisticGenerator()], ids=repr)
def test_gradients_reach_both_sides(loss, generator) -> None:
    real, fake = torch.randn(2, 5, generator=generator, dtype=torch.float64).requires_grad_().unbind()
    assert torch.autograd.gradcheck(loss, (real, fake))
    assert torch.autograd.gradgradcheck(loss, (real, fake))


def game(discriminator, generator_loss, steps: int = 300) -> float:
    """Where the mean of the generator's samples ends up; that of the real ones is 2."""
    torch.manual_seed(0)
    mean = torch.nn.Parameter(torch.tensor(-1.0))
    judge = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    of_mean, of_judge = torch.optim.Adam([mean], lr=0.02), torch.optim.Adam(judge.parameters(), lr=0.02)
    flat = {name: Term(loss, weight=0.2, balanced=False) for name, loss in (("r1", losses.R1()), ("r2", losses.R2()))}
    criterion = LossModule({"adversarial": discriminator, **flat})
    for _ in range(steps):
        real, fake = 2 + 0.5 * torch.randn(64, 1), mean + 0.5 * torch.randn(64, 1)
        samples = {"real_samples": real.requires_grad_(), "fake_samples": fake.detach().requires_grad_()}
        of_judge.zero_grad()
        criterion(real=judge(real), fake=judge(samples["fake_samples"]), **samples).backward()
        of_judge.step()
        of_mean.zero_grad()
        logits = {"real": judge(real), "fake": judge(fake)}
        generator_loss(*(logits[name] for name in generator_loss.inputs)).backward()
        of_mean.step()
    return mean.item()


@pytest.mark.parametrize(
    ("discriminator", "generator_loss"),
    [
        (LogisticDiscriminator(), NonSaturatingGenerator()),
        (HingeDiscriminator(), HingeGenerator()),
        (LeastSquaresDiscriminator(), LeastSquaresGenerator()),
        (WassersteinDiscriminator(), WassersteinGenerator()),
        (RelativisticDiscriminator(), RelativisticGenerator()),
    ],
    ids=repr,
)
def test_the_generator_finds_the_truth(discriminator, generator_loss) -> None:
    assert game(discriminator, generator_loss) == pytest.approx(2, abs=0.2)


def test_what_arrives_of_a_code_is_one_minus_the_normalised_loss() -> None:
    """Of 4 equally probable codes, logits that tell halves apart carry one of two bits."""
    codes = torch.arange(4).repeat(3)
    logits = 50.0 * torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))[codes]
    criterion = LossModule({"information": MutualInformation()})
    criterion(code_logits=logits, code=codes)
    assert float(1 - criterion.report.normalized["information"]) == pytest.approx(0.5)


def test_a_gaussian_that_is_sure_and_right_is_not_rewarded_without_end() -> None:
    prediction = torch.tensor([[2.0, 0.0]], requires_grad=True)
    optimizer = torch.optim.SGD([prediction], lr=10.0)
    for _ in range(200):
        optimizer.zero_grad()
        GaussianNLL(min_std=0.1)(prediction, torch.tensor([2.0])).backward()
        optimizer.step()
    floor = math.log(0.1 * math.sqrt(2 * math.pi))
    assert floor < GaussianNLL(min_std=0.1)(prediction, torch.tensor([2.0])).item() < floor + 0.1


def test_a_gaussian_of_constant_truths_has_a_finite_reference() -> None:
    loss = GaussianNLL(min_std=0.1)
    bounds = loss.bounds(loss.statistics(torch.zeros(3, 2), torch.full((3,), 7.0)))
    assert float(bounds.reference) == pytest.approx(float(bounds.lower))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GaussianNLL(min_std=0.0), "`min_std` must be above 0, found 0.0"),
        (
            lambda: GaussianNLL()(torch.zeros(3, 1, 2), torch.zeros(3, 2)),
            "`input` must be of shape [N, 2, *] for truths",
        ),
        (lambda: GaussianNLL()(torch.zeros(3, 2), torch.zeros(3, 1)), "for truths of shape (3, 1), found (3, 2)"),
        (lambda: GaussianNLL()(torch.zeros(3), torch.zeros(3)), "for truths of shape (3,), found (3,)"),
        (lambda: GaussianNLL()(torch.zeros(1, 2), torch.tensor([math.nan])), "`target` must be finite"),
        (lambda: MutualInformation()(torch.zeros(1, 3), torch.tensor([3])), "`target` must be class indices in 0..2"),
    ],
)
def test_bad_input_is_an_error(call, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
