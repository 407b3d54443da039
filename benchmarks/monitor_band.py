"""Does HessianTraceMonitor keep its budget, and does its band hold the truth as often as it says?

A small convolutional network is trained with the monitor on. Every so often training pauses, and the trace is estimated
over 4096 other samples, to 2 or 3 %; the band at that moment either holds it or not. The overhead is what the monitor
has taken by its own clock, over the time of everything else. Targets: within 0.2 points of the budget; bands that hold
the truth 90 to 97 times of 100.
"""

import statistics
import warnings
from typing import Any

import lightning as L
import torch
from _common import arguments, publish, table
from _resnet import BATCH, CLASSES, Batch, data
from torch import nn
from torch.func import functional_call
from torch.nn.functional import avg_pool2d, cross_entropy
from torch.utils.data import DataLoader

from lightning_losses.callbacks import HessianTraceMonitor
from lightning_losses.curvature import GaussNewtonTrace

STEPS, EVERY, TRUTH = 4000, 100, 4096
BUDGETS = (0.02, 0.05, 0.1)


class Model(L.LightningModule):
    """Two convolutions with BatchNorm, momentum, a learning rate that falls at two thirds of the training."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        blocks = [(1, 16), (16, 32)]
        layers = [
            layer
            for a, b in blocks
            for layer in (nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
        ]
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, CLASSES))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        return cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> dict[str, Any]:
        """SGD with momentum and a step schedule."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2 * STEPS // 3])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Truth(L.Callback):
    """Compares the band with the trace over many samples, outside of the time that the monitor counts."""

    def __init__(self, monitor: HessianTraceMonitor, samples: Batch) -> None:
        self.monitor, self.samples, self.noise = monitor, samples, torch.Generator().manual_seed(0)
        self.seen: list[tuple[int, float, float, float, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, model: Model, *args: Any) -> None:
        """Look at the truth."""
        if trainer.global_step % EVERY or trainer.global_step < 5 * EVERY:
            return
        net = model.net.eval()
        parameters = {name: p.detach() for name, p in net.named_parameters()}
        values, tracer = [], GaussNewtonTrace(net)
        for x, y in zip(*(part.split(256) for part in self.samples), strict=True):
            found = tracer.estimate(
                lambda p, x=x, y=y: cross_entropy(functional_call(net, p, x), y), parameters, generator=self.noise
            )
            values.append(float(found.value[0]))
        model.net.train()
        band = self.monitor.bands(trainer.global_step)["trace/total"]
        self.seen.append((trainer.global_step, statistics.fmean(values), *band))
        self.monitor.on_validation_start(trainer, model)  # this pause is no training time


def train(batches: list[Batch], budget: float, seed: int, truth: Batch | None) -> tuple[float, list[Any]]:
    """The overhead by the monitor's clock, and what was seen of the truth."""
    monitor = HessianTraceMonitor(budget=budget, sharpness=None)
    check = [Truth(monitor, truth)] if truth is not None else []
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[monitor, *check],
    )  # fmt: skip
    trainer.fit(Model(seed), DataLoader(batches, batch_size=None))
    return monitor.overhead, check[0].seen if check else []


def main() -> None:
    options = arguments(__doc__ or "", repeats=2)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    source = data(720 + TRUTH // BATCH)
    small = [(avg_pool2d(x[:, :1], 2), y) for x, y in source.batches]
    held, rest = small[: TRUTH // BATCH], small[TRUTH // BATCH :]
    truth = (torch.cat([x for x, _ in held]), torch.cat([y for _, y in held]))
    batches = [rest[i % len(rest)] for i in range(STEPS)]
    rows, seen = [], []
    for budget in BUDGETS:
        runs = [train(batches, budget, seed, truth) for seed in range(options.repeats)]
        overhead = [100 * run[0] for run in runs]
        checks = [check for _, checks in runs for check in checks]
        covered = statistics.fmean(lower <= exact <= upper for _, exact, _, lower, upper in checks)
        width = statistics.median((upper - lower) / (2 * value) for *_, value, lower, upper in checks)
        error = statistics.median(abs(value / exact - 1) for _, exact, value, *_ in checks)
        spent = f"{statistics.median(overhead):.2f} [{min(overhead):.2f}, {max(overhead):.2f}]"
        rows.append(
            (f"{100 * budget:g} %", spent, f"{100 * covered:.0f} %", len(checks), f"{width:.2f}", f"{error:.2f}")
        )
        seen.append({"budget": budget, "overhead": overhead, "checks": checks})
    columns = ("budget", "spent, % [range]", "bands that hold the truth", "of", "median half-width", "median error")
    text = f"{table(columns, rows)}\n\n{options.repeats} trainings of {STEPS} steps for each budget, {source.name}."
    publish(options.output, "Does HessianTraceMonitor keep its budget and its word?", text, {"runs": seen})


if __name__ == "__main__":
    main()
