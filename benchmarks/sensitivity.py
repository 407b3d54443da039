"""Which settings of an optimizer does a loss react to, more than the loss that it replaces?

Three small experiments, in float64, on problems whose answer is known:

1. Adam's beta2 on a rare class (1 of 100): does the choice matter more under focal weighting than under cross-entropy?
2. SGD's and Adam's step size in a linear regression, with noise and without: what error is left when the step stays
   constant? The exponent k of "error ~ step^k" is 1 where the error is proportional to the step, 0 where it is not due
   to it.
3. SGD's step size on the rare class: which one is best for cross-entropy, and which for focal weighting?

All runs of a setting start from the same weights and see the same batches; differences are taken seed by seed.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from _common import arguments, publish, table
from torch import Tensor, nn

from lightning_losses.functional.regression import smooth_l1, squared_error
from lightning_losses.losses import CrossEntropy, SoftmaxFocal

FEATURES, HIDDEN, BATCH, STEPS = 20, 32, 128, 1000
TRAIN, HELD_OUT, RARE, SHIFT = 8192, 32768, 0.01, 2.5
BETAS = (0.9, 0.99, 0.999)
ADAM_RATES, SGD_RATES = (1e-3, 1e-2), tuple(2.0**k for k in range(-7, 4))
CLASSIFIERS = {"cross-entropy": CrossEntropy(), "focal, gamma 2": SoftmaxFocal(gamma=2.0)}
FLOOR_STEPS, FLOOR_RATES = 8000, (0.002, 0.004, 0.008, 0.016, 0.032)
EXACT = 1e-6  # below it no error is left
REGRESSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "MSE": squared_error,
    "Huber, delta 1": lambda x, y: smooth_l1(x, y, 1.0),
    "MAE": lambda x, y: (x - y).abs(),
}

Optimizer = Callable[[Sequence[Tensor]], torch.optim.Optimizer]


class RareClass(NamedTuple):
    """Two overlapping classes, one of them rare, that a small network can tell apart to a degree."""

    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    seed: int

    @classmethod
    def draw(cls, seed: int) -> "RareClass":
        """The rare class lies on a shell around the frequent one's, shifted by 2.5 standard deviations."""
        noise = torch.Generator().manual_seed(seed)

        def sample(count: int) -> tuple[Tensor, Tensor]:
            labels = (torch.rand(count, generator=noise) < RARE).long()
            x = torch.randn(count, FEATURES, generator=noise, dtype=torch.float64)
            return x * (1 + 0.3 * labels[:, None]) + labels[:, None] * SHIFT * FEATURES**-0.5, labels

        return cls(sample(TRAIN), sample(HELD_OUT), seed)

    def score(self, loss: nn.Module, optimizer: Optimizer) -> float:
        """Average precision of the rare class, held out, after a training from the seed's own start."""
        torch.manual_seed(self.seed)
        net = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2)).double()
        descend, batches = optimizer(list(net.parameters())), torch.Generator().manual_seed(self.seed)
        x, labels = self.train
        for _ in range(STEPS):
            chosen = torch.randint(TRAIN, (BATCH,), generator=batches)
            descend.zero_grad()
            loss(net(x[chosen]), labels[chosen]).backward()
            descend.step()
        with torch.no_grad():
            logits = net(self.held_out[0])
        return average_precision(logits[:, 1] - logits[:, 0], self.held_out[1])


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """The mean, over the positives, of the precision at the rank of each; 0 where a score is no number."""
    ranked = labels[scores.argsort(descending=True)].double()
    precision = ranked.cumsum(0) / torch.arange(1, len(ranked) + 1)
    return float((precision * ranked).sum() / ranked.sum()) if scores.isfinite().all() else 0.0


def floor(loss: Callable[[Tensor, Tensor], Tensor], optimizer: Optimizer, noise: float, seed: int) -> float:
    """Root mean squared error of the weights of a linear regression, over the last fifth of the training."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randn(4, generator=draw, dtype=torch.float64)
    weights = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    descend, errors = optimizer([weights]), []
    for step in range(FLOOR_STEPS):
        x = torch.randn(8, 4, generator=draw, dtype=torch.float64)
        y = x @ truth + noise * torch.randn(8, generator=draw, dtype=torch.float64)
        descend.zero_grad()
        loss(x @ weights, y).mean().backward()
        descend.step()
        if step >= FLOOR_STEPS * 4 // 5:
            errors.append(float((weights.detach() - truth).square().sum()))
    return math.sqrt(statistics.fmean(errors))


def exponent(rates: Sequence[float], floors: Sequence[float]) -> float:
    """The slope of log floor over log step size."""
    logs = [[math.log(max(value, 1e-16)) for value in values] for values in (rates, floors)]
    return statistics.linear_regression(*logs).slope


class Mean(NamedTuple):
    """A mean over seeds and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Of one value a seed."""
        return cls(statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)))

    def is_positive(self) -> bool:
        """Whether it is above 0 by three standard errors."""
        return self.value > 3 * self.error

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


class Outcome(NamedTuple):
    """The table of an experiment, its numbers by setting, and which claims they bear out."""

    table: str
    runs: dict[str, list[float]]
    claims: dict[str, bool]


def adam_beta2(problems: Sequence[RareClass]) -> Outcome:
    """Experiment 1."""
    rows, runs, excess = [], {}, []
    for rate in ADAM_RATES:
        losses: dict[str, list[float]] = {}
        for name, loss in CLASSIFIERS.items():
            scores = [
                [p.score(loss, partial(torch.optim.Adam, lr=rate, betas=(0.9, beta))) for p in problems]
                for beta in BETAS
            ]
            gains = [low - high for low, high in zip(scores[0], scores[-1], strict=True)]
            rows.append((f"{name}, lr {rate:g}", *map(Mean.of, scores), Mean.of(gains)))
            runs |= {f"{name}, lr {rate:g}, beta2 {b:g}": s for b, s in zip(BETAS, scores, strict=True)}
            losses[name] = gains
        excess.append(Mean.of([abs(focal) - abs(plain) for plain, focal in zip(*losses.values(), strict=True)]))
        rows.append((f"focal more than cross-entropy, lr {rate:g}", "", "", "", excess[-1]))
    columns = ("average precision", *(f"beta2 {b:g}" for b in BETAS), "0.9 minus 0.999")
    claims = {"beta2 matters more under focal weighting, at both step sizes": all(map(Mean.is_positive, excess))}
    return Outcome(table(columns, rows), runs, claims)


def step_floor(seeds: range) -> Outcome:
    """Experiment 2."""
    rows, runs, slopes = [], {}, {}
    for noise in (0.0, 0.5):
        for maker in (torch.optim.SGD, torch.optim.Adam):
            for name, loss in REGRESSIONS.items():
                floors = [
                    statistics.fmean(floor(loss, partial(maker, lr=rate), noise, seed) for seed in seeds)
                    for rate in FLOOR_RATES
                ]
                setting = f"{name}, {maker.__name__}, noise {noise:g}"
                runs[setting] = floors
                ends = (f"{floors[0]:.1e}", f"{floors[-1]:.1e}")
                slopes[setting] = exponent(FLOOR_RATES, floors)
                rows.append((setting, *ends, f"{slopes[setting]:.2f}" if floors[-1] > EXACT else "none left"))
    columns = ("error of the weights", f"step {FLOOR_RATES[0]:g}", f"step {FLOOR_RATES[-1]:g}", "exponent")
    still = {name: floors[-1] for name, floors in runs.items() if name.endswith("noise 0")}
    noisy = [slope for name, slope in slopes.items() if name.endswith("noise 0.5")]
    claims = {
        "MAE: without noise a constant step leaves an error proportional to it": all(
            abs(slopes[name] - 1) < 0.05 for name in still if name.startswith("MAE")
        ),
        "MSE and Huber: without noise a constant step leaves no error": all(
            left < EXACT for name, left in still.items() if not name.startswith("MAE")
        ),
        "all alike: with noise a constant step leaves an error like its root": all(abs(k - 0.5) < 0.05 for k in noisy),
    }
    return Outcome(table(columns, rows), runs, claims)


def best_step(problems: Sequence[RareClass]) -> Outcome:
    """Experiment 3."""
    rows, runs, best = [], {}, {}
    for name, loss in CLASSIFIERS.items():
        scores = [[p.score(loss, partial(torch.optim.SGD, lr=rate)) for p in problems] for rate in SGD_RATES]
        runs |= {f"{name}, SGD {rate:g}": s for rate, s in zip(SGD_RATES, scores, strict=True)}
        of_seed = list(zip(*scores, strict=True))
        best[name] = [math.log2(SGD_RATES[max(range(len(row)), key=row.__getitem__)]) for row in of_seed]
        rows.append((name, Mean.of(best[name]), Mean.of([max(row) for row in of_seed])))
    shift = Mean.of([focal - plain for plain, focal in zip(*best.values(), strict=True)])
    rows.append(("focal minus cross-entropy", shift, ""))
    columns = ("SGD", "log2 of the best step", "average precision there")
    return Outcome(table(columns, rows), runs, {"focal weighting wants a larger step of SGD": shift.is_positive()})


def main() -> None:
    options = arguments(__doc__ or "", repeats=16)
    torch.set_num_threads(1)
    problems = [RareClass.draw(seed) for seed in range(options.repeats)]
    parts, runs, claims = [], {}, {}
    for title, outcome in {
        "1. Adam's beta2 and a rare class": adam_beta2(problems),
        "2. What error a constant step leaves": step_floor(range(2)),
        "3. SGD's step and a rare class": best_step(problems),
    }.items():
        held = "\n".join(f"- {'yes' if is_so else 'no'}: {claim}" for claim, is_so in outcome.claims.items())
        parts.append(f"## {title}\n\n{outcome.table}\n\n{held}")
        runs[title], claims = outcome.runs, claims | outcome.claims
    parts.append(f"Means and standard errors of {options.repeats} seeds in 1 and 3, means of 2 seeds in 2.")
    question = "Which settings of an optimizer does a loss react to?"
    publish(options.output, question, "\n\n".join(parts), {"claims": claims, "runs": runs})


if __name__ == "__main__":
    main()
