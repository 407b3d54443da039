"""Bugs that other implementations of metric learning have, or had, and errors."""

import itertools
import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import lightning_losses.losses.angular as angular
import lightning_losses.losses.embeddings as embeddings
from lightning_losses.functional import add_angle, batch_all_triplet, info_nce_range, pairwise_distance
from lightning_losses.losses import ArcFace, Contrastive, CosineClassifier, CurricularFace, InfoNCE, Triplet
from lightning_losses.losses.pairs import MINING

EMBEDDING = [
    InfoNCE(),
    Triplet(),
    Triplet(mining="batch_all"),
    Triplet(normalize=False),
    Contrastive(),
    Contrastive(normalize=False),
]
ANGULAR = [ArcFace(), CurricularFace()]


def simplex(corners: int, each: int) -> tuple[Tensor, Tensor]:
    """Embeddings in the corners of a simplex, several in each, and their labels."""
    embeddings = torch.eye(corners, dtype=torch.float64) - 1 / corners
    return embeddings.repeat(each, 1), torch.arange(corners).repeat(each)


@pytest.mark.parametrize("loss", EMBEDDING, ids=repr)
def test_first_and_second_derivatives_where_there_are_pairs(loss, generator) -> None:
    input = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 0, 1, 1, 1, 2])
    assert torch.autograd.gradcheck(lambda x: loss(x, target), input)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, target), input)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_worst_info_nce_is_not_capped_and_has_a_gradient(dtype: torch.dtype) -> None:
    """A small number inside of a logarithm capped it at 87 in float32 and at 10 in float16, with a gradient of 0."""
    input = torch.tensor([[1.0, 0.0], [-1.0, 0.01], [1.0, 0.0]], dtype=dtype, requires_grad=True)
    loss = InfoNCE(temperature=0.01, reduction="none")(input, torch.tensor([0, 0, 1]))
    assert float(loss[0]) == pytest.approx(200, rel=1e-3)
    (gradient,) = torch.autograd.grad(loss[0], input)
    assert gradient[0].abs().max() > 0.1


def test_info_nce_of_two_views_is_a_cross_entropy(generator) -> None:
    input = torch.randn(10, 4, generator=generator)
    z = F.normalize(input)
    similarity = (z @ z.T / 0.5).fill_diagonal_(-math.inf)
    expected = F.cross_entropy(similarity, torch.arange(10).roll(5))
    torch.testing.assert_close(InfoNCE(temperature=0.5)(input, torch.arange(5).repeat(2)), expected)


@pytest.mark.parametrize("loss", EMBEDDING, ids=repr)
def test_nothing_larger_than_pairs_is_kept_for_the_gradient(loss, generator) -> None:
    input = torch.randn(64, 8, generator=generator, requires_grad=True)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        loss(input, torch.arange(64) % 16)
    assert max(sizes) <= 64 * 65


@pytest.mark.parametrize(("corners", "each"), [(2, 2), (4, 2), (5, 3)])
def test_a_simplex_attains_the_lower_bound_of_info_nce(corners: int, each: int) -> None:
    loss = InfoNCE(temperature=0.5)
    input, target = simplex(corners, each)
    bounds = loss.bounds(loss.statistics(input, target))
    torch.testing.assert_close(loss(input, target), bounds.lower)
    negatives = each * (corners - 1)
    published = math.log(each - 1 + negatives * math.exp((-1 / (corners - 1) - 1) / 0.5))
    assert float(bounds.lower) == pytest.approx(published)
    assert float(bounds.reference) == pytest.approx(math.log(corners * each - 1))


def test_masked_embeddings_and_lone_ones_are_known_to_the_bounds_of_info_nce(generator) -> None:
    input, target = torch.randn(7, 3, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 3])
    loss = InfoNCE()
    mask = torch.arange(7) < 6
    balanced = loss.bounds(loss.statistics(input[:6], target[:6]))
    assert loss.bounds(loss.statistics(input, target, mask=mask)) == balanced
    with_a_lone_one = loss.bounds(loss.statistics(input, target))
    assert float(with_a_lone_one.lower) == pytest.approx(math.log(1 + 5 * math.exp(-20)))
    assert float(with_a_lone_one.upper) == pytest.approx(math.log(1 + 5 * math.exp(20)))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (1, 6), (2, 1), (3, 2), (9, 1)])
def test_no_cosines_lead_out_of_the_range_of_an_anchor(positives: int, negatives: int, temperature: float) -> None:
    """The loss is convex in the cosines, so that it is greatest where each is at one end."""
    worst = -math.inf
    for at_one in range(positives + 1):
        cosines = torch.tensor([1.0] * (at_one + negatives) + [-1.0] * (positives - at_one), dtype=torch.float64)
        mean = (2 * at_one - positives) / positives
        worst = max(worst, float(torch.logsumexp(cosines / temperature, 0)) - mean / temperature)
    _, upper = info_nce_range(torch.tensor([positives]), torch.tensor([negatives]), temperature, torch.tensor(False))
    assert worst - 1e-9 <= float(upper)
    if positives == 1:
        assert float(upper) == pytest.approx(worst)
    assert float(upper) - worst < 0.1


@pytest.mark.parametrize("loss", [*EMBEDDING, *(Triplet(mining=mining, margin=3.0) for mining in MINING)], ids=repr)
@pytest.mark.parametrize("target", [[0, 0, 0], [0, 1, 2], [5]])
def test_a_batch_without_pairs_or_triplets_has_a_graph(loss, target: list) -> None:
    input = torch.randn(len(target), 3, requires_grad=True)
    value = loss(input, torch.tensor(target))
    assert torch.autograd.grad(value, input)[0].isfinite().all()
    if isinstance(loss, Triplet):
        assert value == 0


@pytest.mark.parametrize("vector", [0.0, 1.0, -300.0])
@pytest.mark.parametrize("loss", EMBEDDING, ids=repr)
def test_equal_embeddings_score_the_reference_with_finite_derivatives(loss, vector: float, generator) -> None:
    target = torch.tensor([0, 0, 1, 1, 2])
    input = torch.full((5, 3), vector, requires_grad=True)
    value = loss(input, target)
    (first,) = torch.autograd.grad(value, input, create_graph=True)
    (second,) = torch.autograd.grad((first * torch.randn(5, 3, generator=generator)).sum(), input)
    assert first.isfinite().all()
    assert second.isfinite().all()
    reference = loss.bounds(loss.statistics(input.detach(), target)).reference
    assert float(value) == pytest.approx(float(reference), rel=1e-6)


def test_equal_vectors_have_no_distance_in_float32(generator) -> None:
    """From inner products in float32 they are up to 0.0007 apart."""
    vectors = F.normalize(torch.randn(20, 64, generator=generator)).repeat(3, 1)
    same = torch.arange(60).unsqueeze(1) % 20 == torch.arange(60) % 20
    assert torch.equal(pairwise_distance(vectors, vectors)[same], torch.zeros(180))


def test_sorted_batch_all_equals_the_cube_of_triplets(generator) -> None:
    distance = torch.rand(30, 30, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(30) % 7
    same = labels.unsqueeze(1) == labels
    positive, negative = same & ~torch.eye(30, dtype=torch.bool), ~same
    cube = F.relu(distance.unsqueeze(2) - distance.unsqueeze(1) + 0.3)
    cube = (cube * (positive.unsqueeze(2) & negative.unsqueeze(1))).sum((1, 2))
    found = batch_all_triplet(distance, positive, negative, 0.3)
    torch.testing.assert_close(found, cube)
    gradients = (torch.autograd.grad(values.sum(), distance)[0] for values in (found, cube))
    torch.testing.assert_close(*gradients)


def test_no_triplets_on_a_circle_lead_beyond_the_bound_of_batch_all() -> None:
    loss = Triplet(mining="batch_all", margin=0.3)
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    values = [
        float(loss(corners[list(places)], torch.tensor(labels)))
        for places in itertools.product(range(4), repeat=4)
        for labels in ([0, 0, 1, 1], [0, 0, 0, 1])
    ]
    assert max(values) == pytest.approx(1.3)


@pytest.mark.parametrize("make", [InfoNCE, Triplet, Contrastive])
def test_without_gather_no_rank_hears_of_the_others(make, generator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments) -> None:
        raise AssertionError

    input, target = torch.randn(6, 3, generator=generator), torch.arange(6) % 3
    expected = make()(input, target)
    monkeypatch.setattr(embeddings, "differentiable_gather", fail)
    monkeypatch.setattr(embeddings, "rows_around", fail)
    assert make(gather=False)(input, target) == expected


@pytest.mark.parametrize("loss", EMBEDDING, ids=repr)
@pytest.mark.parametrize(
    ("input", "target", "options", "error", "message"),
    [
        (torch.ones(4), torch.ones(4).long(), {}, ValueError, "`input` must be embeddings of shape [N, D], found (4,)"),
        (torch.ones(4, 2), torch.ones(4), {}, TypeError, "`target` must be labels of an integer dtype"),
        (torch.ones(4, 2), torch.ones(4, 1).long(), {}, ValueError, "`target` must be 4 labels, one per embedding"),
        (torch.ones(4, 2), torch.ones(4).long(), {"weight": torch.ones(4)}, ValueError, "`weight` must be None, as"),
    ],
)
def test_embeddings_and_labels(loss, input: Tensor, target: Tensor, options: dict, error, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        loss(input, target, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Triplet(margin=0.0), "`margin` must be above 0, found 0.0"),
        (lambda: Triplet(mining="hard"), "`mining` must be one of 'batch_hard', 'batch_all', found 'hard'"),
        (lambda: Contrastive(margin=-1.0), "`margin` must be above 0, found -1.0"),
        (lambda: InfoNCE(temperature=0.0), "`temperature` must be above 0, found 0.0"),
        (lambda: ArcFace(scale=0.0), "`scale` must be above 0, found 0.0"),
        (lambda: ArcFace(margin=math.pi), "`margin` must be at least 0 and below 3.14159, found 3.14"),
        (lambda: CurricularFace(decay=1.0), "`decay` must be at least 0 and below 1, found 1.0"),
    ],
)
def test_hyperparameters(make, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0])
def test_the_angle_is_added_as_by_an_arc_cosine_without_its_infinite_derivative(margin: float) -> None:
    angle = torch.linspace(0.01, math.pi - margin - 1e-6, 50, dtype=torch.float64)
    torch.testing.assert_close(add_angle(angle.cos(), margin), (angle + margin).cos())
    ends = torch.tensor([1.0, -1.0, 1 - 1e-7], requires_grad=True)
    values = add_angle(ends, margin)
    torch.testing.assert_close(values[:2], torch.tensor([math.cos(margin), math.cos(margin) - 2 if margin else -1.0]))
    (first,) = torch.autograd.grad(values.sum(), ends, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), ends)
    assert first.isfinite().all()
    assert second.isfinite().all()


def test_the_penalty_goes_on_where_the_angle_passes_pi_without_a_jump() -> None:
    edge = -math.cos(0.5)
    below, above = add_angle(torch.tensor([edge - 1e-9, edge + 1e-9], dtype=torch.float64), 0.5)
    assert float(above - below) == pytest.approx(0, abs=1e-8)
    falling = add_angle(torch.linspace(1, -1, 1000, dtype=torch.float64), 0.5)
    assert (falling.diff() < 0).all()


@pytest.mark.parametrize("loss", ANGULAR, ids=repr)
@pytest.mark.parametrize(
    ("input", "message"),
    [
        (torch.tensor([[3.0, 0.0]]), "`input` must be cosines in [-1, 1], found 3.0"),
        (torch.tensor([[0.0, -1.1]]), "`input` must be cosines in [-1, 1], found 1.1"),
        (torch.tensor([[0.0, math.nan]]), "`input` must be cosines in [-1, 1], found nan"),
        (torch.zeros(1, 2, 1), "`input` must be cosines of shape [N, C], found (1, 2, 1)"),
    ],
)
def test_what_is_no_cosine(loss, input: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(input, torch.zeros(1, *input.shape[2:], dtype=torch.long))


@pytest.mark.parametrize("loss", ANGULAR, ids=repr)
def test_a_cosine_that_rounding_made_greater_than_1_is_1(loss) -> None:
    target = torch.tensor([0])
    assert loss(torch.tensor([[1.004, -0.5]]), target) == loss(torch.tensor([[1.0, -0.5]]), target)


def test_an_untrained_arcface_stands_where_its_docstring_says(generator) -> None:
    torch.manual_seed(1)
    cosines = CosineClassifier(128, 1000)(torch.randn(256, 128, generator=generator))
    loss, target = ArcFace(), torch.randint(0, 1000, (256,), generator=generator)
    reference = loss.bounds(loss.statistics(cosines, target)).reference
    assert float(reference) == pytest.approx(64 * math.sin(0.5) + math.log(999))
    assert 0 < float(loss(cosines, target)) - float(reference) < 64**2 / (2 * 128)


def test_cosines_are_in_float32_under_autocast(generator) -> None:
    classifier, input = CosineClassifier(16, 4), torch.randn(3, 16, generator=generator)
    expected = classifier(input)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(classifier(input), expected)
        assert classifier(input.bfloat16()).dtype == torch.float32


def test_the_curriculum_moves_in_training_only_and_is_kept(generator) -> None:
    loss = CurricularFace(decay=0.5)
    input, target = torch.rand(4, 3, generator=generator), torch.tensor([0, 1, 2, 0])
    loss.statistics(input, target)
    loss.eval()(input, target)
    torch.func.vmap(loss.train())(input.unsqueeze(1), target.unsqueeze(1))
    assert loss.t == 0
    loss(input, target)
    true = input[torch.arange(4), target]
    torch.testing.assert_close(loss.t, true.mean() / 2)
    loss(input, target, mask=torch.tensor([True, False, False, False]))
    torch.testing.assert_close(loss.t, true.mean() / 4 + true[0] / 2)
    assert torch.equal(loss.state_dict()["t"], loss.t)
    before = loss.t.clone()
    loss(input, target, mask=torch.zeros(4, dtype=torch.bool))
    assert torch.equal(loss.t, before)


def test_the_curriculum_is_one_for_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another rank has three elements whose cosines add up to 1.5."""
    monkeypatch.setattr(angular, "sum_over_ranks", lambda sums: sums + torch.tensor([1.5, 3.0]))
    loss = CurricularFace(decay=0.0)
    loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0]))
    assert loss.t == 0.5


def test_hard_negatives_count_the_more_the_further_the_curriculum_is() -> None:
    loss = CurricularFace(scale=1.0, margin=0.5, reduction="none").eval()
    loss.t.fill_(0.8)
    true = math.cos(math.acos(0.6) + 0.5)
    value = loss(torch.tensor([[0.6, 0.7, 0.1]]), torch.tensor([0]))
    powers = [math.exp(true), math.exp(0.7 * (0.8 + 0.7)), math.exp(0.1)]
    assert float(value) == pytest.approx(-math.log(powers[0] / sum(powers)), rel=1e-5)
