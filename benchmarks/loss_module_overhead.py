"""What does a LossModule cost beside the hand-written sum `a * l1 + b * l2 + ...` of the same losses?

The losses are as small as they get (four numbers each), so that the difference is the composition alone: microseconds
per term, in training mode, after the first batches. Target: at most 30 per term.
"""

from collections.abc import Callable, Mapping

import torch
from _common import Clocks, arguments, interleave, publish, spread, table
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lightning_losses import LossModule, Term
from lightning_losses.losses import MSE

TERMS = (1, 2, 4, 8)
CALLS = 300
TARGET = 30
LOSSES: dict[str, Callable[[], Callable[..., Tensor]]] = {"F.mse_loss": lambda: mse_loss, "losses.MSE": MSE}


class HandWritten(nn.Module):
    """What stands in a training_step today."""

    def __init__(self, losses: list[Callable[..., Tensor]], weights: list[float]) -> None:
        super().__init__()
        self.losses, self.weights = losses, weights

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The weighted sum."""
        total = self.weights[0] * self.losses[0](input, target)
        for weight, loss in zip(self.weights[1:], self.losses[1:], strict=True):
            total = total + weight * loss(input, target)
        return total


def candidates(make: Callable[[], Callable[..., Tensor]], terms: int) -> dict[str, Callable[[], None]]:
    """Forward, and forward with backward, by hand and by a LossModule."""
    weights = [1.0 + i for i in range(terms)]
    hand = HandWritten([make() for _ in weights], weights)
    module = LossModule({f"t{i}": Term(make(), weight=w) for i, w in enumerate(weights)})
    input, target = torch.randn(4, requires_grad=True), torch.randn(4)
    return {
        "hand, forward": lambda: hand(input, target),
        "module, forward": lambda: module(input, target),
        "hand, both": lambda: hand(input, target).backward(),
        "module, both": lambda: module(input, target).backward(),
    }


def extra(times: Mapping[str, Clocks], part: str) -> list[float]:
    """Microseconds per call that the module takes longer, round by round."""
    pairs = zip(times[f"module, {part}"].cpu, times[f"hand, {part}"].cpu, strict=True)
    return [1e6 * (module - hand) for module, hand in pairs]


def main() -> None:
    options = arguments(__doc__, repeats=15)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows, per_term = [], {}
    for kind, make in LOSSES.items():
        for terms in TERMS:
            name = f"{terms} x `{kind}`"
            times = interleave(candidates(make, terms), options.repeats, CALLS)
            hand = spread([1e6 * seconds for seconds in times["hand, both"].cpu])
            forward, both = extra(times, "forward"), extra(times, "both")
            per_term[name] = spread([value / terms for value in both])
            rows.append((name, *(s.text(0) for s in (hand, spread(forward), spread(both))), per_term[name].text(1)))
    columns = ("microseconds", "by hand, both", "more a call, forward", "more a call, both", "more a term, both")
    missed = [f"{name} ({cost.median:.0f})" for name, cost in per_term.items() if cost.median > TARGET]
    verdict = f"Target: {TARGET} us a term; missed by {', '.join(missed) or 'none'}."
    note = (
        f'"Both" is forward and backward. CPU time, median [quartiles] of {options.repeats} interleaved rounds of '
        f"{CALLS} calls."
    )
    text = f"{table(columns, rows)}\n\n{verdict} {note}"
    publish(options.output, "What does a LossModule cost?", text, {"microseconds_per_term": per_term})


if __name__ == "__main__":
    main()
