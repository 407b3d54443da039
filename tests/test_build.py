"""From YAML to a LossModule: plain dicts, and LightningCLI's class_path and init_args."""

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

from lightning_losses import LossModule
from lightning_losses.build import build_loss_module
from lightning_losses.schedules import Linear

PLAIN = """
terms:
  fit: MSE
  robust:
    loss: {class_path: SmoothL1, init_args: {beta: 0.5}}
    weight: {class_path: Linear, init_args: {start: 1.0, end: 0.5, steps: 10}}
    inputs: {input: guess, target: truth}
    bounds: {lower: 0.0, reference: 2.0}
  inner:
    loss: {terms: {a: MSE, b: torch.nn.L1Loss}}
    weight: 0.1
  plain: torch.nn.functional.l1_loss
  dropped: null
balancer: {class_path: GradNorm, init_args: {alpha: 0.5}}
nonfinite: ignore
"""


def test_plain_dicts_hold_everything() -> None:
    criterion = LossModule.from_config(yaml.safe_load(PLAIN))
    assert list(criterion.terms) == ["fit", "robust", "inner", "plain"]
    assert criterion.terms["robust"].schedule == Linear(1.0, 0.5, 10)
    assert criterion.terms["robust"].bounds().reference == 2.0
    assert criterion.balancer.alpha == 0.5
    assert criterion.nonfinite == "ignore"
    x = torch.ones(3, requires_grad=True)
    assert criterion(input=x, target=x * 2, guess=x, truth=x * 3, shared=x).isfinite()


CLASS_PATHS = """
model:
  criterion:
    class_path: lightning_losses.LossModule
    init_args:
      terms:
        fit: {class_path: lightning_losses.losses.MSE}
        robust:
          class_path: lightning_losses.Term
          init_args:
            loss: {class_path: lightning_losses.losses.SmoothL1, init_args: {beta: 0.5}}
            weight: {class_path: lightning_losses.schedules.WarmUp, init_args: {value: 2.0, steps: 4}}
      balancer: {class_path: lightning_losses.balancers.GradNorm, init_args: {alpha: 0.5}}
"""


class Host(L.LightningModule):
    def __init__(self, criterion: LossModule) -> None:
        super().__init__()
        self.criterion = criterion


def test_lightning_cli_builds_the_same_from_class_paths() -> None:
    cli = LightningCLI(Host, args=yaml.safe_load(CLASS_PATHS), run=False, save_config_callback=None)
    criterion = cli.model.criterion
    assert repr(criterion) == (
        "LossModule(1 * fit[MSE()](input, target) + WarmUp(value=2.0, steps=4) * robust[SmoothL1(beta=0.5)]"
        "(input, target), balanced by GradNorm(alpha=0.5))"
    )


BAD = {
    "an unknown loss": ({"terms": {"a": "Dise"}}, ValueError, r"Unknown name 'Dise' in `criterion.terms.a`. .*'Dice'"),
    "an unknown balancer": ({"terms": {"a": "MSE"}, "balancer": "gradnorm"}, ValueError, "'gradnorm' in `criterion.balancer`. Did you mean 'GradNorm'"),
    "an unknown key": ({"terms": {"a": "MSE"}, "balancers": "Fixed"}, ValueError, "Unknown key 'balancers' in `criterion`. Did you mean 'balancer'"),
    "an unknown key of a term": ({"terms": {"a": {"loss": "MSE", "wieght": 2}}}, ValueError, "'wieght' in `criterion.terms.a`. Did you mean 'weight'"),
    "an unknown argument": ({"terms": {"a": {"class_path": "SmoothL1", "init_args": {"bta": 1}}}}, ValueError, "'bta' in `criterion.terms.a`. Did you mean 'beta'"),
    "an unknown spelling": ({"terms": {"a": {"class_path": "MSE", "args": {}}}}, ValueError, "Unknown key 'args'"),
    "a path that leads nowhere": ({"terms": {"a": "torch.nn.L7Loss"}}, ValueError, "can be imported, found 'torch.nn.L7Loss'"),
    "a balancer that is a loss": ({"terms": {"a": "MSE"}, "balancer": "torch.nn.L1Loss"}, TypeError, "must be a Balancer"),
    "no terms": ({}, TypeError, "`criterion.terms` must be a mapping"),
    "only dropped terms": ({"terms": {"a": None}}, ValueError, "`terms` must be at least one"),
    "a negative weight": ({"terms": {"a": {"loss": "MSE", "weight": -1}}}, ValueError, "In `criterion.terms.a`: `weight` must be at least 0, found -1"),
    "a bad argument": ({"terms": {"a": "MSE"}, "balancer": {"class_path": "GradNorm", "init_args": {"alpha": 9}}}, ValueError, "In `criterion.balancer`: `alpha` must be"),
    "a number for a loss": ({"terms": {"a": 3}}, TypeError, "`criterion.terms.a` must be the name of a class"),
    "an abstract class": ({"terms": {"a": "ElementwiseLoss"}}, ValueError, "Unknown name 'ElementwiseLoss'"),
}  # fmt: skip


@pytest.mark.parametrize(("config", "error", "match"), BAD.values(), ids=BAD)
def test_bad_configurations(config: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        build_loss_module(config)
