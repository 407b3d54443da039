"""`advise`: silent on data without anything unusual, certain where something is, and honest about its errors."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import NormalDist
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml

from lightning_losses import LossModule, advise, losses
from lightning_losses.advise.evidence import annotators, labels, masks, multilabel, numbers, predictions
from lightning_losses.advise.evidence.components import object_sizes
from lightning_losses.advise.sensitivity import NOTES
from lightning_losses.advise.statistics import mean_error, normal, ratio_error, share_bounds, student

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Rng = np.random.Generator


class Case(NamedTuple):
    """Targets drawn anew for every seed, and what `advise` should make of them."""

    id: str
    task: str
    draw: Callable[[Rng], object]
    proposes: str  # the losses, joined by +
    batch: Callable[[], dict[str, torch.Tensor]]
    options: Mapping = MappingProxyType({})


def logits(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), requires_grad=True)


def pair(input: torch.Tensor, target: torch.Tensor) -> Callable[[], dict[str, torch.Tensor]]:
    return lambda: {"input": input, "target": target}


def maps(rng: Rng, images: int, shares: list[float], size: int = 24) -> list[np.ndarray]:
    return [rng.choice(len(shares), p=shares, size=(size, size)) for _ in range(images)]


def blobs(rng: Rng, images: int, side: int, of: int = 64) -> list[np.ndarray]:
    """One square of class 1 somewhere in each image."""
    found = []
    for _ in range(images):
        image = np.zeros((of, of), dtype=int)
        row, column = rng.integers(of - side, size=2)
        image[row : row + side, column : column + side] = 1
        found.append(image)
    return found


def votes(rng: Rng, samples: int, wrong: float) -> np.ndarray:
    """Three annotators, each of whom guesses now and then."""
    found = np.repeat(rng.integers(4, size=(samples, 1)), 3, axis=1)
    guesses = rng.random(found.shape) < wrong
    return np.where(guesses, rng.integers(4, size=found.shape), found)


def some_boxes(rng: Rng, slim: bool) -> list[dict]:
    images = []
    for _ in range(60):
        corner, side = rng.uniform(0, 50, size=(8, 2)), rng.uniform(10, 15, size=(8, 1))
        spans = side * ([1, 3] if slim else [1, 1.2])
        images.append({"boxes": np.concatenate([corner, corner + spans], 1), "labels": rng.integers(3, size=8)})
    return images


def detector() -> dict[str, torch.Tensor]:
    return {"boxes": BOXES + logits(2, 4) / 10, "true_boxes": BOXES, "logits": logits(2, 3), "labels": CANDIDATES}


def one_of_ten(rng: Rng) -> np.ndarray:
    return np.eye(10, dtype=int)[rng.integers(10, size=400)][:, rng.permutation(10)]


BOXES = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 4.0, 2.0]])
CANDIDATES = torch.tensor([[0, 1, 0], [1, 0, 0]])
SCALED = {f"{kind}_{index}": logits(8) for kind in ("value", "target") for index in range(2)}
LABELS = torch.arange(8) % 4

PLAIN = [
    Case("balanced", "classification", lambda r: r.integers(4, size=1000), "CrossEntropy", pair(logits(8, 4), LABELS)),
    Case("agreeing", "classification", lambda r: votes(r, 300, 0.0), "CrossEntropy", pair(logits(8, 4), LABELS), {"annotators": True}),
    Case("one-hot", "classification", lambda r: np.eye(3)[r.integers(3, size=99)] * 0.999 + 0.001 / 3, "CrossEntropy", pair(logits(8, 4), LABELS)),
    Case("even labels", "multilabel", lambda r: r.integers(2, size=(300, 6)), "BCEWithLogits", pair(logits(8, 6), torch.ones(8, 6))),
    Case("normal", "regression", lambda r: r.normal(3, 7, size=1000), "MSE", pair(logits(8), torch.ones(8))),
    Case("normal, several", "regression", lambda r: r.normal(size=(500, 5)), "MSE", pair(logits(8, 5), torch.ones(8, 5))),
    Case("uniform", "regression", lambda r: r.random(1000), "MSE", pair(logits(8), torch.ones(8))),
    Case("even maps", "segmentation", lambda r: maps(r, 10, [0.5, 0.3, 0.2]), "CrossEntropy", pair(logits(2, 3, 4, 4), torch.zeros(2, 4, 4).long())),
    Case("square boxes", "detection", lambda r: some_boxes(r, slim=False), "GIoU+SigmoidFocal", detector),
    Case("short lists", "ranking", lambda r: r.integers(3, size=(100, 6)), "PairwiseLogistic", pair(logits(4, 6), torch.arange(6.0).expand(4, 6))),
    Case("pairs of views", "metric", lambda r: np.arange(200), "InfoNCE", pair(logits(8, 5), LABELS)),
]  # fmt: skip

UNUSUAL = [
    Case("rare class", "classification", lambda r: r.choice(4, p=[0.6, 0.3, 0.09, 0.01], size=4000), "CrossEntropy", pair(logits(8, 4), LABELS)),
    Case("disagreeing", "classification", lambda r: votes(r, 300, 0.4), "KLDivergence", pair(logits(8, 4), torch.full((8, 4), 0.25)), {"annotators": True}),
    Case("distributions", "classification", lambda r: r.dirichlet([1, 1, 1, 1], size=200), "KLDivergence", pair(logits(8, 4), torch.full((8, 4), 0.25))),
    Case("sparse labels", "multilabel", lambda r: (r.random((800, 40)) < 0.04).astype(int), "Asymmetric", pair(logits(8, 40), torch.ones(8, 40))),
    Case("a rare label", "multilabel", lambda r: (r.random((800, 3)) < [0.5, 0.4, 0.03]).astype(int), "BCEWithLogits", pair(logits(8, 3), torch.ones(8, 3))),
    Case("exclusive labels", "multilabel", one_of_ten, "CrossEntropy", pair(logits(8, 10), LABELS)),
    Case("ordered", "ordinal", lambda r: r.integers(5, size=300), "CORN", pair(logits(8, 4), LABELS)),
    Case("outliers", "regression", lambda r: np.where(r.random(600) < 0.05, 30, 1) * r.normal(size=600), "Huber", pair(logits(8), torch.ones(8))),
    Case("heavy tails", "regression", lambda r: r.standard_t(2, size=2000), "Huber", pair(logits(8), torch.ones(8))),
    Case("heaviest tails", "regression", lambda r: r.standard_cauchy(size=3000), "MAE", pair(logits(8), torch.ones(8))),
    Case("scales", "regression", lambda r: r.normal(size=(200, 2)) * [1, 50], "MSE+MSE", lambda: SCALED),
    Case("heavy scales", "regression", lambda r: r.standard_t(2, size=(2000, 2)) * [1, 50], "Huber+Huber", lambda: SCALED),
    Case("many scales", "regression", lambda r: r.normal(size=(300, 9)) * 10.0 ** np.arange(9), "MSE", pair(logits(8, 9), torch.ones(8, 9))),
    Case("intervals", "regression", lambda r: r.normal(size=300), "MSE+Quantile", lambda: {"value": logits(8), "target": torch.ones(8), "quantiles": logits(8, 2)}, {"intervals": (0.1, 0.9)}),
    Case("rare pixels", "segmentation", lambda r: maps(r, 12, [0.66, 0.31, 0.03]), "DiceCE", pair(logits(2, 3, 4, 4), torch.zeros(2, 4, 4).long())),
    Case("small object", "segmentation", lambda r: blobs(r, 20, side=8), "FocalTversky+CrossEntropy", pair(logits(2, 2, 4, 4), torch.zeros(2, 4, 4).long())),
    Case("large rare object", "segmentation", lambda r: blobs(r, 20, side=33, of=200), "Tversky+CrossEntropy", pair(logits(2, 2, 4, 4), torch.zeros(2, 4, 4).long()), {"ignore_index": 255}),
    Case("slim boxes", "detection", lambda r: some_boxes(r, slim=True), "CIoU+SigmoidFocal", detector),
    Case("one relevant", "ranking", lambda r: np.eye(8)[r.integers(8, size=200)], "ListNet", pair(logits(4, 6), torch.eye(6)[:4])),
    Case("total orders", "ranking", lambda r: [r.permutation(7) for _ in range(150)], "ListMLE", pair(logits(4, 6), torch.arange(6.0).expand(4, 6))),
    Case("long lists", "ranking", lambda r: r.integers(5, size=(60, 40)), "LambdaRank", pair(logits(4, 6), torch.arange(6.0).expand(4, 6))),
    Case("identities", "metric", lambda r: r.integers(20, size=400), "Triplet", pair(logits(8, 5), LABELS)),
]  # fmt: skip


@pytest.mark.parametrize("case", PLAIN)
def test_plain_data_get_the_plain_loss(case: Case) -> None:
    for seed in range(10):
        advice = advise(case.draw(np.random.default_rng(seed)), case.task, **case.options)
        assert "+".join(advice.proposal.losses) == case.proposes
        assert not advice.proposal.reasons
        assert f"No evidence for anything but {advice.proposal.plain}." in str(advice)


@pytest.mark.parametrize("case", UNUSUAL)
def test_clear_cases_are_found_and_explained(case: Case) -> None:
    for seed in range(5):
        advice = advise(case.draw(np.random.default_rng(seed)), case.task, **case.options)
        assert "+".join(advice.proposal.losses) == case.proposes
        assert advice.proposal.reasons
        assert "No evidence" not in str(advice)


@pytest.mark.parametrize("case", PLAIN + UNUSUAL)
def test_every_proposal_is_built_from_its_yaml_and_runs(case: Case) -> None:
    advice = advise(case.draw(np.random.default_rng(0)), case.task, **case.options)
    criterion = LossModule.from_config(yaml.safe_load(advice.yaml()))
    loss = criterion(**case.batch())
    loss.backward()
    assert loss.isfinite()
    assert repr(advice.loss_module()) == repr(criterion)


@pytest.mark.parametrize("case", PLAIN + UNUSUAL)
def test_the_report_fits_a_terminal(case: Case) -> None:
    text = advise(case.draw(np.random.default_rng(0)), case.task, **case.options).text(80)
    report, _, proposal = text.partition("\nAs YAML")
    assert max(map(len, report.splitlines())) <= 80
    assert proposal


CLEAN = {
    "labels, 2 classes": ("classification", lambda r, n: r.integers(2, size=n)),
    "labels, 50 classes": ("classification", lambda r, n: r.integers(50, size=n)),
    "normal": ("regression", lambda r, n: r.normal(size=n)),
    "normal, 4 outputs": ("regression", lambda r, n: r.normal(size=(n, 4))),
    "multilabel": ("multilabel", lambda r, n: r.integers(2, size=(n, 5))),
}


@pytest.mark.parametrize("size", [30, 100, 1000, 100_000])
@pytest.mark.parametrize(("task", "draw"), CLEAN.values(), ids=CLEAN)
def test_false_alarms_are_rare_at_every_size(task: str, draw: Callable, size: int) -> None:
    repetitions = 200 if size < 100_000 else 20
    rng = np.random.default_rng(size)
    alarms = sum(bool(advise(draw(rng, size), task).proposal.reasons) for _ in range(repetitions))
    assert alarms / repetitions <= 0.05


@pytest.mark.parametrize("images", [1, 2, 3, 5, 20])
def test_false_alarms_are_rare_among_few_images(images: int) -> None:
    """Each image has its own share of foreground, around one that calls for nothing."""
    rng = np.random.default_rng(images)
    alarms = 0
    for _ in range(200):
        shares = rng.beta(2, 8, size=images)
        alarms += bool(
            advise([(rng.random((16, 16)) < s).astype(int) for s in shares], "segmentation").proposal.reasons
        )
    assert alarms <= 0.05 * 200


def test_calibrated_predictions_and_unordered_mistakes_raise_no_alarm() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(100):
        shares = rng.dirichlet(np.ones(6), size=200)
        truth = (shares.cumsum(1) < rng.random((200, 1))).sum(1)
        advice = advise(truth, "classification", shares)
        alarms += any(advice.evidence.shows(name) for name in ("overconfidence", "order"))
    assert alarms <= 5


class TestErrors:
    """The sampling errors that findings rest on, against simulation or the exact value."""

    @pytest.mark.parametrize("probability", [0.002, 0.05, 0.4])
    @pytest.mark.parametrize("total", [10, 100, 2000])
    def test_bounds_of_shares_hold(self, probability: float, total: int) -> None:
        counts = np.random.default_rng(0).binomial(total, probability, size=20_000)
        lower, upper = share_bounds(counts, total)
        assert (lower > probability).mean() <= 0.01
        assert (upper < probability).mean() <= 0.01

    def test_bounds_of_nothing_seen(self) -> None:
        lower, upper = share_bounds(0, 100)
        assert lower == 0
        assert float(upper) == pytest.approx(1 - 0.01 ** (1 / 100))

    @pytest.mark.parametrize(("degrees", "quantile"), [(4, 3.747), (9, 2.821), (30, 2.457), (1000, 2.330)])
    def test_quantiles_of_student(self, degrees: int, quantile: float) -> None:
        assert student(degrees) == pytest.approx(quantile, rel=0.02)

    def test_one_image_has_no_error(self) -> None:
        assert math.isinf(student(1))
        assert math.isinf(mean_error(np.ones(1)))
        assert math.isinf(ratio_error(np.ones(1), np.ones(1)))

    def test_of_ratios_over_groups(self) -> None:
        rng = np.random.default_rng(0)
        sizes = rng.integers(5, 50, size=(2000, 40))
        parts = rng.binomial(sizes, rng.beta(2, 5, size=sizes.shape))
        errors = [ratio_error(a, b) for a, b in zip(parts, sizes, strict=True)]
        assert np.mean(errors) == pytest.approx((parts.sum(1) / sizes.sum(1)).std(), rel=0.05)

    def test_of_robust_statistics(self) -> None:
        values = np.random.default_rng(0).normal(size=(6000, 2000))
        e = np.quantile(values, np.arange(9) / 8, axis=1)
        moors, bowley = (e[7] - e[5] + e[3] - e[1]) / (e[6] - e[2]), (e[6] + e[2] - 2 * e[4]) / (e[6] - e[2])
        mad = np.median(np.abs(values - e[4][:, None]), 1)
        scale = math.sqrt(2000)
        assert np.log(moors).std() * scale == pytest.approx(numbers.LOG_MOORS_ERROR, rel=0.03)
        assert bowley.std() * scale == pytest.approx(numbers.BOWLEY_ERROR, rel=0.03)
        assert np.log(mad).std() * scale == pytest.approx(numbers.LOG_MAD_ERROR, rel=0.03)

    def test_of_kappa(self) -> None:
        rng = np.random.default_rng(0)
        findings = []
        for _ in range(600):
            given = votes(rng, 150, 0.3)
            findings.append(annotators.fleiss_kappa(np.stack([(given == c).sum(1) for c in range(4)], 1)))
        errors = [(finding.bound - finding.value) / normal() for finding in findings]
        assert np.mean(errors) == pytest.approx(np.std([finding.value for finding in findings]), rel=0.1)


class TestThresholds:
    """The thresholds that are said to be derived, derived again."""

    def test_outliers(self) -> None:
        """Where contamination at 3.5 makes the variances of the mean and of Huber's estimate equal."""
        x = np.linspace(-10, 10, 200_001)
        density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
        clipped, inside = (
            (np.minimum(np.abs(x), numbers.HUBER) ** 2 * density).sum(),
            (density[np.abs(x) < numbers.HUBER]).sum(),
        )

        def gain(share: float) -> float:
            mean = 1 - share + share * numbers.CUT**2
            return mean - ((1 - share) * clipped + share * numbers.HUBER**2) / ((1 - share) * inside) ** 2

        normal_tail = 2 * NormalDist().cdf(-numbers.CUT)
        assert gain(numbers.OUTLIERS - normal_tail - 3e-4) < 0 < gain(numbers.OUTLIERS - normal_tail + 3e-4)

    def test_tails(self) -> None:
        logistic = {k: math.log(k / (8 - k)) for k in (5, 6, 7)}
        laplace = {k: -math.log(2 * (1 - k / 8)) for k in (5, 6, 7)}
        moors = [(q[7] - q[5]) / q[6] for q in (logistic, laplace)]
        assert moors == pytest.approx([numbers.LOGISTIC, numbers.LAPLACE], abs=1e-3)

    def test_skew(self) -> None:
        first, second, third = np.quantile(np.random.default_rng(0).gamma(4, size=2_000_000), (0.25, 0.5, 0.75))
        assert (third + first - 2 * second) / (third - first) == pytest.approx(numbers.SKEW, abs=3e-3)

    def test_a_lower_threshold_is_not_reached_by_the_estimate_alone(self) -> None:
        """Eleven to one among 24 labels is no evidence of ten to one."""
        finding = labels.imbalance(np.array([22, 2]), 24)
        assert finding.value == 11
        assert not finding.holds
        assert labels.imbalance(np.array([220_000, 2_000]), 222_000).holds


class TestEvidence:
    """Numbers against an independent computation."""

    def test_effective_weights(self) -> None:
        counts = np.array([500, 40, 60])
        beta = 1 - 1 / 200
        raw = [(1 - beta) / (1 - beta**n) for n in (500, 40, 60)]
        expected = [3 * w / sum(raw) for w in raw]
        assert labels.effective_weights(counts) == pytest.approx(expected, rel=5e-3)

    def test_a_long_tail_is_named(self) -> None:
        advice = advise(np.repeat(np.arange(5), [3000, 900, 300, 60, 9]), "classification")
        assert "long tail" in advice.proposal.reasons[0]
        assert advice.config["terms"]["classify"]["init_args"]["class_weight"] == labels.effective_weights(
            np.array([3000, 900, 300, 60, 9])
        )

    def test_kappa_of_the_published_example(self) -> None:
        """Fleiss 1971 as in every textbook: 10 subjects, 14 raters, 5 categories, kappa 0.210."""
        table = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
        assert annotators.fleiss_kappa(np.array(table)).value == pytest.approx(0.210, abs=5e-4)

    def test_smoothing_leaves_what_annotators_leave(self) -> None:
        seen = annotators.look_at_votes(np.array([[0, 0, 0, 1]] * 10 + [[1, 1, 1, 1]] * 10))
        assert seen.smoothing * (1 - 1 / 2) == pytest.approx(0.125)

    def test_labels_of_one_row_count_as_one(self) -> None:
        rows = np.tile([0] * 24 + [1], (3, 100))
        assert advise(rows.ravel(), "classification").evidence.shows("imbalance")
        assert not advise(rows, "classification").evidence.shows("imbalance")

    def test_order_of_five_classes_is_exact(self) -> None:
        """Mistakes between neighbours only: the given order and its reverse, of 120."""
        truth = np.repeat(np.arange(5), 10)
        guesses = truth.copy()
        guesses[::10] = np.minimum(truth[::10] + 1, 3)
        finding = predictions.order(guesses, truth, 5)
        assert finding is not None
        assert finding.value == pytest.approx(2 / 120)
        assert finding.holds

    def test_four_classes_cannot_show_an_order(self) -> None:
        truth = np.repeat(np.arange(4), 10)
        assert predictions.order(np.minimum(truth + 1, 3), truth, 4) is None

    def test_ordered_mistakes_speak_for_ordinal_losses(self) -> None:
        rng = np.random.default_rng(0)
        truth = rng.integers(6, size=500)
        guesses = np.clip(truth + rng.choice([-1, 0, 1], p=[0.2, 0.6, 0.2], size=500), 0, 5)
        assert "CORN" in str(advise(truth, "classification", guesses).proposal.alternatives)
        assert "bear the order out" in str(advise(truth, "ordinal", guesses).proposal.reasons)
        renamed = rng.permutation(6)
        assert "do not show the order" in str(advise(renamed[truth], "ordinal", renamed[guesses]).proposal.reasons)

    def test_labels_alone_show_no_order_and_it_is_said(self) -> None:
        advice = advise(np.arange(100) % 5, "ordinal")
        assert any("cannot show an order" in caution for caution in advice.proposal.cautions)

    def test_overconfident_predictions_speak_for_smoothing(self) -> None:
        rng = np.random.default_rng(0)
        truth = rng.integers(3, size=500)
        guesses = np.where(rng.random(500) < 0.7, truth, (truth + 1) % 3)
        sure = torch.from_numpy(8 * np.eye(3)[guesses])
        assert advise(truth, "classification", sure).config["terms"]["classify"]["init_args"] == {
            "label_smoothing": 0.1
        }

    def test_residuals_are_judged_where_there_are_predictions(self) -> None:
        rng = np.random.default_rng(0)
        truth = rng.standard_cauchy(size=1000)
        assert advise(truth, "regression").proposal.losses == ["MAE"]
        assert advise(truth, "regression", truth + rng.normal(size=1000)).proposal.losses == ["MSE"]

    def test_huber_stands_at_the_robust_scale(self) -> None:
        rng = np.random.default_rng(0)
        values = 20 * np.where(rng.random(4000) < 0.05, 30, 1) * rng.normal(size=4000)
        delta = advise(values, "regression").config["terms"]["fit"]["init_args"]["delta"]
        assert delta == pytest.approx(1.345 * 20, rel=0.1)

    def test_a_skewed_distribution_is_said_to_be_one(self) -> None:
        advice = advise(np.random.default_rng(0).lognormal(size=1000), "regression")
        assert advice.proposal.losses == ["MSE"]
        assert any("skewed" in caution for caution in advice.proposal.cautions)
        assert any("logarithm" in caution for caution in advice.proposal.cautions)

    def test_outliers_on_one_side_of_symmetric_values_are_outliers(self) -> None:
        rng = np.random.default_rng(0)
        advice = advise(np.where(rng.random(2000) < 0.04, 9, rng.normal(size=2000)), "regression")
        assert advice.proposal.losses == ["Huber"]
        assert any("of those, on one side 1 " in caution for caution in advice.proposal.cautions)

    def test_scales_are_balanced_by_what_the_centre_scores(self) -> None:
        targets = np.random.default_rng(0).normal(size=(4000, 2)) * [1, 50]
        terms = advise(targets, "regression").config["terms"]
        assert terms["output_0"]["weight"] / terms["output_1"]["weight"] == pytest.approx(2500, rel=0.2)

    def test_targets_that_are_mostly_equal_are_not_judged(self) -> None:
        advice = advise(np.r_[np.zeros(80), np.arange(20)], "regression")
        assert advice.proposal.losses == ["MSE"]
        assert any("no robust scale" in note for note in advice.evidence.notes)

    def test_objects_against_flood_fill(self) -> None:
        rng = np.random.default_rng(0)
        for share in (0.3, 0.55, 0.7):
            mask = (rng.random((23, 31)) < share).astype(int) * rng.integers(1, 3, size=(23, 31))
            mask[rng.random(mask.shape) < 0.05] = -1
            assert sorted(object_sizes(mask)) == flood_fill(mask)

    def test_a_long_object_is_one(self) -> None:
        snake = np.zeros((41, 40), dtype=int)
        snake[::2], snake[1::4, -1], snake[3::4, 0] = 1, 1, 1
        assert object_sizes(snake).tolist() == [snake.sum()]

    def test_ignored_pixels_count_nowhere(self) -> None:
        image = np.full((8, 8), 255)
        image[:4] = np.repeat([0, 1], 4)
        seen = advise([image] * 5, "segmentation", ignore_index=255).evidence
        assert isinstance(seen, masks.Masks)
        assert seen.pixels.tolist() == [[16, 16]] * 5
        assert seen.objects.tolist() == [16] * 5

    def test_absent_labels_get_no_weight(self) -> None:
        assert multilabel.positive_weights(np.array([0, 100, 25]), 100) == [1.0, 1.0, 3.0]

    def test_one_image_concludes_nothing(self) -> None:
        image = np.zeros((64, 64), dtype=int)
        image[0, 0] = 1
        advice = advise([image], "segmentation")
        assert advice.proposal.losses == ["CrossEntropy"]
        assert any("too few for a sampling error" in note for note in advice.evidence.notes)

    def test_boxes_without_area_are_counted(self) -> None:
        images = some_boxes(np.random.default_rng(0), slim=False)
        images[3]["boxes"][0, 2:] = images[3]["boxes"][0, :2]
        assert any("1 boxes have no area" in note for note in advise(images, "detection").evidence.notes)

    def test_padding_of_rankings_is_left_out(self) -> None:
        lists = np.array([[2, 1, 0, -1], [1, 0, -1, -1]] * 20)
        padded, plain = advise(lists, "ranking", ignore_index=-1), advise([[2, 1, 0], [1, 0]] * 20, "ranking")
        assert str(padded) == str(plain)

    def test_tensors_arrays_and_lists_are_the_same(self) -> None:
        given = [0, 1, 2] * 30
        reports = {str(advise(make(given), "classification")) for make in (list, np.array, torch.tensor)}
        assert len(reports) == 1


DEGENERATE = {
    "one number": ([1.0], "regression", "MSE"),
    "three values": (np.r_[np.zeros(50), -np.ones(25), np.ones(25)], "regression", "MSE"),
    "one class": ([0] * 50, "classification", "CrossEntropy"),
    "two identical maps": ([np.repeat([0, 1], [990, 10]).reshape(100, 10)] * 2, "segmentation", "CrossEntropy"),
    "background only": (np.zeros((5, 4, 4), dtype=int), "segmentation", "CrossEntropy"),
    "no positives": (np.zeros((50, 3), dtype=int), "multilabel", "BCEWithLogits"),
    "no boxes": ([np.zeros((0, 4))] * 3, "detection", "GIoU+SigmoidFocal"),
    "nothing to order": ([[1, 1], [0]], "ranking", "PairwiseLogistic"),
    "one identity": ([1] * 9, "metric", "InfoNCE"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("targets", "task", "proposes"), DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_targets_get_the_plain_loss(targets: object, task: str, proposes: str) -> None:
    advice = advise(targets, task)
    assert "+".join(advice.proposal.losses) == proposes
    assert "nan" not in str(advice)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("given", [[[0, 1, 1]], [[0, 0], [0, 0]], [[0, 1], [0, 0], [0, 0]]])
def test_too_few_votes_conclude_nothing(given: list) -> None:
    assert advise(given, "classification", annotators=True).proposal.losses == ["CrossEntropy"]


def flood_fill(mask: np.ndarray) -> list[int]:
    left, sizes = {(r, c) for r, c in zip(*np.nonzero(mask > 0), strict=True)}, []
    while left:
        stack, size = [left.pop()], 0
        while stack:
            r, c = stack.pop()
            size += 1
            for near in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
                if near in left and mask[near] == mask[r, c]:
                    left.remove(near)
                    stack.append(near)
        sizes.append(size)
    return sorted(sizes)


MISTAKES = {
    "task": (([0, 1], "clasification"), {}, "`task` must be one of 'classification'"),
    "no targets": (([], "classification"), {}, "`targets` must be at least one number"),
    "words": ((["a", "b"], "classification"), {}, "`targets` must be an array of numbers"),
    "NaN": (([1.0, math.nan], "regression"), {}, "`targets` must be finite, found '1 NaN or infinite'"),
    "no labels": (([0.5, 1.0], "classification"), {}, "`targets` must be class indices, found 0.5"),
    "negative": (([0, -1], "classification"), {}, "`targets` must be class indices of at least 0, or those of"),
    "all ignored": (([7, 7], "classification"), {"ignore_index": 7}, "labels that are not all ignored"),
    "one-hot": ((np.eye(4, dtype=int)[[0, 1, 2, 3]], "classification"), {}, "labels, not one-hot"),
    "no distribution": ((np.full((4, 3), 0.5), "classification"), {}, "distributions .* whose rows sum to 1"),
    "too few classes": (([0, 3], "classification"), {"num_classes": 3}, "below num_classes=3, found 3"),
    "one annotator": ((np.zeros((5, 1)), "classification"), {"annotators": True}, "of two annotators or more"),
    "predictions": (([0, 1, 1], "classification", [0, 1]), {}, r"`predictions` must be as many as targets \(3\), found 2"),
    "too few logits": (([0, 2], "classification", np.zeros((2, 2))), {}, "of shape .* with C at least 3"),
    "ragged": (([[1, 0], [1]], "multilabel"), {}, "rows of one length"),
    "no multilabel": ((np.full((3, 3), 2), "multilabel"), {}, "`targets` must be 0 or 1 everywhere, found 2"),
    "regression shape": ((np.zeros((2, 2)), "regression", np.zeros((2, 3))), {}, r"`predictions` must be of the shape \(2, 2\)"),
    "intervals": (([1.0, 2.0], "regression"), {"intervals": (0.9, 0.1)}, "`intervals` must be increasing quantiles"),
    "no maps": ((np.zeros((4, 4)), "segmentation"), {}, "label maps"),
    "no images": (([], "segmentation"), {}, "one label map at least"),
    "inverted": (([[[3, 0, 1, 1]]], "detection"), {}, "x1 <= x2 and y1 <= y2, found .3.0, 0.0, 1.0, 1.0"),
    "box labels": (([{"boxes": [[0, 0, 1, 1]], "labels": [1, 2]}], "detection"), {}, "`labels` must be one for each of 1 boxes"),
    "no boxes": (([{"box": []}], "detection"), {}, 'mappings with "boxes"'),
    "a number": ((1, "classification"), {}, "`targets` must be an array or a list, found 1"),
    "no images at all": ((3, "segmentation"), {}, "`targets` must be a sequence, found 'int'"),
    "no sequence": ((3, "ranking"), {}, "`targets` must be a sequence, found 'int'"),
    "not for this task": (([1.0], "regression"), {"ignore_index": 3}, "`ignore_index` must be left out for regression"),
    "no predictions here": (([0, 1], "metric", [0, 1]), {}, "`predictions` must be left out for metric"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "text"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(arguments: tuple, options: dict, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        advise(*arguments, **options)


@pytest.mark.parametrize("name", NOTES)
def test_what_is_said_of_optimizers_was_measured(name: str) -> None:
    note = NOTES[name]
    results = RESULTS / f"{note.experiment}.json"
    if not results.exists():
        pytest.skip("needs the source tree")
    assert name in losses.__all__
    assert (ROOT / "benchmarks" / f"{note.experiment}.py").exists()
    assert json.loads(results.read_text())["claims"][note.claim] is True


def test_notes_appear_with_their_loss_only() -> None:
    rng = np.random.default_rng(0)
    assert "benchmarks/sensitivity.py" in str(advise(rng.standard_cauchy(3000), "regression"))
    assert "sensitive" not in str(advise(rng.normal(size=3000), "regression"))
