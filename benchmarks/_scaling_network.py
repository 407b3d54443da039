"""The small network in which messages are counted."""

import torch
from _scaling_cases import BATCH, FEATURES, INPUTS, OUTPUTS, TERMS, WIDTH, Case, Sizes
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import mse_loss

from lightning_losses import LossModule, Term
from lightning_losses.losses import MSE


class Network(LightningModule):
    """A trunk, a shared layer and a head for every term.

    Args:
        case: what is trained; None for a sum of losses without a LossModule.
    """

    def __init__(self, case: Case | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.case = case
        self.trunk, self.neck = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.Tanh()), nn.Linear(WIDTH, FEATURES)
        self.heads = nn.ModuleDict({f"t{i}": nn.Linear(FEATURES, OUTPUTS) for i in range(TERMS)})
        self.criterion = None if case is None else self._criterion(case)

    def _criterion(self, case: Case) -> LossModule:
        holes = {"mask": "mask"} if case.masked else {}
        terms = {name: Term(case.loss(), inputs={"input": name, "target": "target"} | holes) for name in self.heads}
        shared = case.place if case.place == "neck" else None
        return LossModule(terms, case.balancer(), shared=shared, reference_steps=case.references)

    def configure_model(self) -> None:
        """Shard it where the strategy asks for that."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            for part in (self.trunk, self.neck, *self.heads.values()):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The loss of all terms."""
        features = torch.tanh(self.neck(self.trunk(batch)))
        if self.case is None or self.criterion is None:
            return sum(mse_loss(head(features), batch[:, :OUTPUTS]) for head in self.heads.values())
        branches = self.criterion.branch(features) if self.case.place == "branches" else None
        outputs = {name: head(features if branches is None else branches[name]) for name, head in self.heads.items()}
        place = {"features": {"shared": features}, "branches": {"shared": branches}}.get(self.case.place or "", {})
        holes = {"mask": batch[:, :OUTPUTS] > 0} if self.case.masked else {}
        return self.criterion(**outputs, target=self._target(batch), **holes, **place)

    def _target(self, batch: Tensor) -> Tensor:
        assert self.case is not None
        return batch[:, :OUTPUTS] if self.case.loss is MSE else (batch[:, 0] > 0).long()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain."""
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def sizes(self, ranks: int) -> Sizes:
        """Of this model on so many ranks."""
        trunk, neck, head = (_size(part) for part in (self.trunk, self.neck, self.heads["t0"]))
        groups = 2 + TERMS
        total = trunk + neck + TERMS * head
        return Sizes(TERMS, total, neck, head, groups, 2 * groups, OUTPUTS, OUTPUTS, BATCH, ranks)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
