"""The importances of synaptic intelligence and of memory aware synapses equal their definitions, in float64."""

from typing import Any

import torch
from continual_problem import BATCH, Net, Points, fit, points
from torch import nn

from lightning_losses.callbacks import ContinualLearning, OutputSensitivity, PathIntegral

WEIGHT, LR, MOMENTUM, CLIP, DAMPING = 0.3, 0.2, 0.9, 0.05, 0.1


class Momentum(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=LR, momentum=MOMENTUM)


def path_by_hand(model: Net, accumulate: int) -> list[dict[str, torch.Tensor]]:
    """The importances after each task: a loop with nothing in it but the paper's formulas."""
    network = nn.Linear(3, 2).double()
    network.load_state_dict(model.network.state_dict())
    parameters = dict(network.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    anchors, found = dict[str, torch.Tensor](), []
    for task in range(2):
        optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)
        start = {name: p.detach().clone() for name, p in parameters.items()}
        credit = {name: torch.zeros_like(p) for name, p in parameters.items()}
        x, y = points(task).tensors
        for inputs, labels in zip(
            x.double().split(accumulate * BATCH), y.split(accumulate * BATCH), strict=True
        ):  # equal micro-batches: the mean of their means is the mean
            loss = nn.functional.cross_entropy(network(inputs), labels)
            gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
            for name, p in parameters.items():
                pull = WEIGHT * total[name] * (p.detach() - anchors[name]) if anchors else 0.0
                p.grad = gradients[name] + pull
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            before = {name: p.detach().clone() for name, p in parameters.items()}
            optimizer.step()
            for name, p in parameters.items():
                credit[name] -= gradients[name] * (p.detach() - before[name])
        for name, p in parameters.items():
            total[name] = total[name] + credit[name].clamp(min=0) / ((p.detach() - start[name]) ** 2 + DAMPING)
        anchors = {name: p.detach().clone() for name, p in parameters.items()}
        found.append(dict(total))
    return found


def test_path_integral_is_of_the_tasks_own_gradient_unclipped_and_without_the_penalty(tmp_path) -> None:
    torch.manual_seed(0)
    model = Momentum(WEIGHT).double()
    expected = path_by_hand(model, accumulate=2)
    seen = []

    class Kept(PathIntegral):
        def finish(self, trainer, pl_module, task) -> None:
            super().finish(trainer, pl_module, task)
            seen.append(pl_module.criterion.terms["ewc"].loss.importance)

    options = {"precision": "64-true", "gradient_clip_val": CLIP, "accumulate_grad_batches": 2}
    fit(tmp_path, model, Points(), ContinualLearning(consolidation=Kept(damping=DAMPING)), **options)
    for importance, by_hand in zip(seen, expected, strict=True):
        for name, value in by_hand.items():
            assert float(value.max()) > 0
            torch.testing.assert_close(importance[f"network.{name}"], value, rtol=1e-9, atol=1e-15)


def test_sensitivity_is_the_mean_over_samples_of_what_each_of_them_says(tmp_path) -> None:
    torch.manual_seed(0)
    model, samples = Net(0.1, lr=0.05).double(), 10
    callback = ContinualLearning(consolidation=OutputSensitivity(samples=samples))
    fit(tmp_path, model, Points(tasks=1), callback, precision="64-true")
    (anchor,) = model.criterion.terms["ewc"].loss.anchors
    expected = {name: torch.zeros_like(p) for name, p in model.network.named_parameters()}
    for x in points(0).tensors[0][:samples].double():
        squared = model.network(x[None]).square().sum()
        for total, gradient in zip(
            expected.values(), torch.autograd.grad(squared, list(model.network.parameters())), strict=True
        ):
            total += gradient.abs() / samples
    for name, value in expected.items():
        torch.testing.assert_close(anchor.fisher[f"network.{name}"], value, rtol=1e-12, atol=0)
