"""Parameter groups for an optimizer: weight decay is for the network, not for what a loss learns."""

from typing import Any

from torch import nn

from lightning_losses.module import LossModule


def parameter_groups(model: nn.Module, **options: Any) -> list[dict[str, Any]]:
    """The parameters of a model in two groups: those of its LossModules, without weight decay, and all others.

    What a loss learns (the log variances of `Uncertainty`, a scalarizer's parameters) has a meaning at any value, and
    weight decay would pull it to the priors.

    Args:
        model: any module; parameters that require no gradient are left out.
        options: what the optimizer is to use for the others, and but for `weight_decay` for the losses' too.

    >>> import torch
    >>> from lightning_losses import LossModule, balancers, losses
    >>> model = nn.ModuleDict({
    ...     "net": nn.Linear(2, 1),
    ...     "criterion": LossModule({"a": losses.MSE(), "b": losses.SmoothL1()}, balancers.Uncertainty()),
    ... })
    >>> optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-3, weight_decay=0.05))
    >>> [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups]
    [(2, 0.05), (1, 0.0)]
    """
    criteria = [module for module in model.modules() if isinstance(module, LossModule)]
    learned = {id(parameter): parameter for criterion in criteria for parameter in criterion.parameters()}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in learned]
    own = [p for p in learned.values() if p.requires_grad]
    groups = [{**options, "params": rest}, {**options, "params": own, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
