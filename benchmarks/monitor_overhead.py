"""What does a monitor cost in a step that it measures?

A training in a Lightning Trainer in which every step is watched by one of the monitors, or by none, in a new random
order every round. Targets: gradient norms at most 1 % of a step; the gradients of three terms at features at most 0.3
of a gradient, which is a forward and a backward of the batch.
"""

import random
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from _common import Spread, arguments, publish, ratios, spread, table
from lightning.pytorch.utilities import grad_norm
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from lightning_losses import LossModule, Term
from lightning_losses.callbacks import GradientNormMonitor, NormalizedLossMonitor, TermGradientMonitor
from lightning_losses.losses import MSE, CrossEntropy, SmoothL1

BATCH, WARM_UP = 64, 1


class Floor(L.Callback):
    """What no monitor of gradient norms can go below: one pass over the gradients."""

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Any) -> None:
        """The norm of every gradient."""
        torch._foreach_norm([p.grad for p in model.parameters() if p.grad is not None])


class LightningGradNorm(L.Callback):
    """What Lightning's documentation says."""

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Any) -> None:
        """Log the norm of every parameter."""
        model.log_dict(grad_norm(model, norm_type=2))


BASE = "no monitor"
NORMS, TERMS = "GradientNormMonitor(update_ratio=False)", "TermGradientMonitor, 3 terms at features"
MONITORS: dict[str, Callable[[], L.Callback]] = {
    "floor: torch._foreach_norm": Floor,
    "Lightning's grad_norm and log_dict": LightningGradNorm,
    NORMS: lambda: GradientNormMonitor(every_n_steps=1, update_ratio=False),
    "GradientNormMonitor": lambda: GradientNormMonitor(every_n_steps=1),
    TERMS: lambda: TermGradientMonitor(every_n_steps=1),
    "TermGradientMonitor, 3 terms at the last block": lambda: TermGradientMonitor(
        every_n_steps=1, shared="trunk.layer4.1.*", depth=3
    ),
    "NormalizedLossMonitor": lambda: NormalizedLossMonitor(every_n_steps=1),
}
STEMS = {"3x3 stem": True, "torchvision's stem": False}
Seconds = dict[str, list[float]]


class Model(L.LightningModule):
    """ResNet-18 with three heads."""

    def __init__(self, small_images: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = resnet18()
        self.trunk.fc = nn.Identity()
        if small_images:
            self.trunk.conv1, self.trunk.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        self.heads = nn.ModuleDict({"kind": nn.Linear(512, 10), "size": nn.Linear(512, 2), "place": nn.Linear(512, 4)})
        losses = {"kind": CrossEntropy(), "size": MSE(), "place": SmoothL1()}
        self.criterion = LossModule({k: Term(loss, inputs=[k, f"{k}_target"]) for k, loss in losses.items()})

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of all three heads."""
        features = self.trunk(batch["image"])
        outputs = {name: head(features) for name, head in self.heads.items()}
        targets = {name: value for name, value in batch.items() if name.endswith("_target")}
        loss: Tensor = self.criterion(**outputs, **targets, shared=features)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-3, momentum=0.9)


class Turns(L.Callback):
    """Hands every step to one of the monitors, and takes the CPU time of the step and of the monitor's part in it."""

    def __init__(self, rounds: int) -> None:
        self.monitors = {name: make() for name, make in MONITORS.items()}
        order = random.Random(0)
        names = [BASE, *MONITORS]
        self.turns = [name for _ in range(rounds + WARM_UP) for name in order.sample(names, len(names))]
        self.steps: Seconds = {name: [] for name in names}
        self.inside: Seconds = {name: [] for name in names}
        self.gradients: list[float] = []

    def on_fit_start(self, trainer: L.Trainer, model: Model) -> None:
        """Prepare all monitors."""
        for monitor in self.monitors.values():
            monitor.setup(trainer, model, stage="fit")
            monitor.on_fit_start(trainer, model)

    def on_train_batch_start(self, trainer: L.Trainer, model: Model, batch: Any, batch_idx: int) -> None:
        """Start the clock."""
        self.name, self.start, self.spent = self.turns[batch_idx], time.process_time(), 0.0
        self.hand_on("on_train_batch_start", trainer, model, batch, batch_idx)

    def on_before_backward(self, trainer: L.Trainer, model: Model, loss: Tensor) -> None:
        """Hand on."""
        self.hand_on("on_before_backward", trainer, model, loss)

    def on_after_backward(self, trainer: L.Trainer, model: Model) -> None:
        """Hand on; a plain step has its gradient now."""
        self.hand_on("on_after_backward", trainer, model)
        if self.name == BASE and len(self.steps[BASE]) >= WARM_UP:
            self.gradients.append(time.process_time() - self.start)

    def on_before_optimizer_step(self, trainer: L.Trainer, model: Model, optimizer: torch.optim.Optimizer) -> None:
        """Hand on."""
        self.hand_on("on_before_optimizer_step", trainer, model, optimizer)

    def on_train_batch_end(self, trainer: L.Trainer, model: Model, *args: Any) -> None:
        """Stop the clock."""
        self.hand_on("on_train_batch_end", trainer, model, *args)
        self.steps[self.name].append(time.process_time() - self.start)
        self.inside[self.name].append(self.spent)

    def hand_on(self, hook: str, *args: Any) -> None:
        """Call a hook of the monitor whose turn it is."""
        if self.name != BASE:
            start = time.process_time()
            getattr(self.monitors[self.name], hook)(*args)
            self.spent += time.process_time() - start


def train(small_images: bool, rounds: int) -> Turns:
    """One training in which every monitor has had its turns."""
    turns = Turns(rounds)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "image": torch.randn(BATCH, 3, 32, 32, generator=generator),
        "kind_target": torch.randint(10, (BATCH,), generator=generator),
        "size_target": torch.randn(BATCH, 2, generator=generator),
        "place_target": torch.randn(BATCH, 4, generator=generator),
    }
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[turns],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Model(small_images), DataLoader([batch] * len(turns.turns), batch_size=None))
    return turns


def shares(turns: Turns) -> dict[str, dict[str, Spread]]:
    """Of every monitor: its part of a plain step and of a gradient in percent, and its steps over plain ones."""
    plain = spread(turns.steps[BASE][WARM_UP:]).median
    gradient = spread(turns.gradients).median
    found = {}
    for name in MONITORS:
        inside = turns.inside[name][WARM_UP:]
        found[name] = {
            "of a step": spread([100 * seconds / plain for seconds in inside]),
            "of a gradient": spread([100 * seconds / gradient for seconds in inside]),
            "step over plain step": ratios(turns.steps[name][WARM_UP:], turns.steps[BASE][WARM_UP:]),
        }
    return found


def verdict(found: Mapping[str, Mapping[str, Mapping[str, Spread]]]) -> str:
    """Whether the targets are held."""
    lines = []
    for name, column, target in ((NORMS, "of a step", 1.0), (TERMS, "of a gradient", 30.0)):
        for stem, its in found.items():
            share = its[name][column].median
            held = "holds" if share <= target else "MISSED"
            lines.append(f"- {name}, {stem}: {share:.2f} % {column}, target {target:g} % {held}.")
    return "\n".join(lines)


def main() -> None:
    options = arguments(__doc__, repeats=9)
    torch.set_num_threads(1)
    turns = {stem: train(small_images, options.repeats) for stem, small_images in STEMS.items()}
    found = {stem: shares(its) for stem, its in turns.items()}
    rows = [
        (f"{name}, {stem}", its["of a step"].text(2, " %"), its["of a gradient"].text(2, " %"),
         its["step over plain step"].text(3))
        for stem, of_stem in found.items()
        for name, its in of_stem.items()
    ]  # fmt: skip
    plain = {stem: spread(its.steps[BASE][WARM_UP:]).median for stem, its in turns.items()}
    note = (
        f"CPU time, median [quartiles] of {options.repeats} steps each, in one training, in random order. The shares "
        "are of the time inside of the monitor, which is steadier than the ratio of whole steps. What goes beyond the "
        "passes over gradients and weights is mostly Lightning's self.log, some 0.3 ms a value; loggers are off. "
        f"ResNet-18 on 32x32 images, batch {BATCH}, SGD with momentum; a plain step takes "
        f"{', '.join(f'{seconds:.2f} s ({stem})' for stem, seconds in plain.items())}: stride 1 and no pooling, "
        "or stride 2 and pooling, which leaves one pixel to the last layers: much weight, little work."
    )
    columns = ("in a measured step", "inside, of a step", "inside, of a gradient", "step over plain step")
    text = f"{table(columns, rows)}\n\n{verdict(found)}\n\n{note}"
    publish(
        options.output, "What does a monitor cost?", text, {"shares_in_percent": found, "plain_step_seconds": plain}
    )


if __name__ == "__main__":
    main()
