"""How flat the loss surface is, during training and for a stated share of its time."""

from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info

from lightning_losses.callbacks.clock import Clock, Mark
from lightning_losses.callbacks.critical_probe import CriticalProbe
from lightning_losses.callbacks.curvature_strategies import check_strategy, check_whole_parameters
from lightning_losses.callbacks.eigenvalue_probe import EigenvalueProbe
from lightning_losses.callbacks.every_n_steps import check_every_n_steps, is_due
from lightning_losses.callbacks.followed import Followed, Probe
from lightning_losses.callbacks.layer_groups import LayerGroups
from lightning_losses.callbacks.measuring_schedule import MeasuringSchedule
from lightning_losses.callbacks.replay import Replay
from lightning_losses.callbacks.trace_probe import TraceProbe
from lightning_losses.checks import check_choice, check_number
from lightning_losses.curvature.gathering import set_up
from lightning_losses.curvature.local_level import Band

SHARPNESS_PROBES: dict[str, type[EigenvalueProbe] | type[CriticalProbe]] = {
    "lambda_max": EigenvalueProbe,
    "critical": CriticalProbe,
}


class HessianTraceMonitor(Callback):
    r"""Logs the trace of the Hessian of the loss, its largest eigenvalue, and whether the optimizer can stand it.

    From time to time it looks at a batch before the training step sees it, runs `training_step` once more on detached
    parameters (see `Replay`: nothing of the training changes), and estimates

    - ``curvature/trace/total`` and ``curvature/trace/<layer group>``, :math:`\operatorname{Tr} H`, with
      ``curvature/trace_lower/...`` and ``curvature/trace_upper/...``, the band that holds it with 95 %. Values are
      running estimates: every look has its own data and its own random probes, and `LocalLevel` follows what they say
      of a quantity that drifts;
    - ``curvature/trace/layer_normalized``, :math:`\sum_l \lVert w_l \rVert^2 \operatorname{Tr} H_{ll}` over the weight
      tensors: unlike the trace it stays when layers are rescaled without changing what the network computes;
    - ``curvature/trace/term/<term>`` of the terms of a LossModule, with `per_term`;
    - ``curvature/lambda_max``, the largest eigenvalue, and ``curvature/residual``: an eigenvalue of the
      batch's Hessian lies within it;
    - ``curvature/stability``, :math:`\lambda_{\max}(D^{1/2} H D^{1/2})` over what the optimizer can stand, for gradient
      descent :math:`\lambda_{\max} \cdot \eta/2`; momentum and Adam's preconditioner are taken into account (see
      `stability_of`). Training at the edge of stability hovers around 1;
    - ``curvature/overhead``, the time that it took, as a share of the rest.

    Flatness is a diagnostic of the optimization. It is no score of generalization, and the raw trace can be changed
    without changing the function (Dinh et al. 2017, arXiv:1703.04933); compare networks by the layer-normalized one.

    **Which matrix.** Where the loss has a known Hessian in the network's outputs (cross-entropy, squared error, ...),
    the trace of the Gauss-Newton matrix G comes from one backward with per-sample probes: many times cheaper than
    Hutchinson's estimate, and it works with attention kernels and other operations that have no second derivative.
    :math:`\operatorname{Tr} G = \operatorname{Tr} H` exactly where every single weight enters the outputs
    piecewise linearly; the graph of the first batch is checked for that. Otherwise ``matrix="auto"`` logs Tr G, and
    ``curvature/is_hessian`` is 0 instead of 1; ``matrix="Hessian"`` insists on H and adds Hutchinson's
    estimate of the rest. A loss without known Hessian in the outputs (Dice, a penalty) is measured by Hutchinson's
    estimate alone.

    **Which mode.** Normalisation layers use their running statistics (``mode="eval"``) or the batch's
    (``mode="train"``). They have different loss surfaces, with traces that differ by factors.

    **Several ranks** look at the mean of their losses, as one process would at the union of their batches. The trace
    costs one short message, sharpness under DDP messages as large as the parameters (``docs/scaling.md``).

    Args:
        budget: the share of the training time that it may take, above 0 and below 1. Half of it goes to the trace, half
            to the eigenvalue. The first batch is looked at on credit, unless the training is too short to pay it back;
            it then says so and does not look.
        every_n_steps: look at every n-th batch instead, whatever it costs.
        matrix: ``"auto"``, ``"Hessian"`` or ``"GGN"``.
        mode: ``"eval"`` or ``"train"``.
        sharpness: ``"lambda_max"``, which needs a loss that can be differentiated twice; ``"critical"``, a line search
            with some six forward passes instead, which logs ``curvature/critical``; None leaves the trace the whole
            budget.
        per_term: whether to estimate the terms of a LossModule one by one, a backward each.
        depth: of how many modules of its path a layer's group is named.
        groups: instead of `depth`, names of groups and shell-style patterns of parameter paths; the first match holds.
        optimizer: the index of the optimizer whose parameters are looked at, where there are several.
        prefix: what the logged names begin with; two monitors in one Trainer need different ones.

    Raises:
        ValueError: a number out of its range; a pattern that matches nothing; no such optimizer.
        IncompatibleError: in `setup`, a strategy under which what is asked for cannot be measured (under FSDP2, which
            is ModelParallelStrategy, the trace alone can, with ``sharpness=None``); at the first batch, a network that
            cannot be measured as asked.

    >>> HessianTraceMonitor(budget=0.05, groups={"trunk": "net.trunk.*", "heads": "net.head*"}).prefix
    'curvature/'
    """

    def __init__(
        self,
        *,
        budget: float = 0.02,
        every_n_steps: int | None = None,
        matrix: Literal["auto", "Hessian", "GGN"] = "auto",
        mode: Literal["eval", "train"] = "eval",
        sharpness: Literal["lambda_max", "critical"] | None = "lambda_max",
        per_term: bool = False,
        depth: int = 2,
        groups: dict[str, str] | None = None,
        optimizer: int = 0,
        prefix: str = "curvature/",
    ) -> None:
        check_number("budget", budget, above=0, below=1)
        every = check_every_n_steps(every_n_steps)
        self.matrix = check_choice("matrix", matrix, ("auto", "Hessian", "GGN"))
        check_choice("mode", mode, ("eval", "train"))
        self.mode = mode
        self.sharpness = sharpness and check_choice("sharpness", sharpness, SHARPNESS_PROBES)
        self.per_term = per_term
        self.depth = int(check_number("depth", depth, at_least=1))
        self.groups = groups
        self.optimizer = int(check_number("optimizer", optimizer, at_least=0))
        self.prefix = prefix
        kinds = [TraceProbe, *([SHARPNESS_PROBES[sharpness]] if sharpness else [])]
        self._schedules = [MeasuringSchedule(budget / len(kinds), every, kind.cost) for kind in kinds]
        self._followed: list[Followed] = []
        self._restored: list[dict[str, Any]] = []
        self._last: Mark | None = None
        self._has_news = False

    @property
    def state_key(self) -> str:
        """One state a prefix."""
        return self._generate_state_key(prefix=self.prefix)

    def state_dict(self) -> dict[str, Any]:
        """The running estimates, and what was earned and spent."""
        return {"followed": [followed.state_dict() for followed in self._followed]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, once training starts."""
        self._restored = state_dict["followed"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse strategies under which what is asked for cannot be measured.

        Raises:
            IncompatibleError: the message names the strategy and what to do instead.
        """
        if stage != "fit":
            return
        check_strategy(trainer, type(self).__name__)
        if self.sharpness:
            option = f'HessianTraceMonitor(sharpness="{self.sharpness}")'
            check_whole_parameters(trainer, option, "take sharpness=None")
        if self.matrix == "Hessian":
            check_whole_parameters(trainer, 'HessianTraceMonitor(matrix="Hessian")', 'take matrix="auto"')

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the layers and terms."""
        if isinstance(trainer.strategy, ModelParallelStrategy):
            set_up(pl_module)
        if self.optimizer >= len(trainer.optimizers):
            raise ValueError(f"`optimizer` must be one of {len(trainer.optimizers)}, found index {self.optimizer}.")
        groups = LayerGroups(pl_module, self.depth, self.groups)
        self._trace = TraceProbe(self.matrix, groups, pl_module, self.per_term)
        probes: list[Probe] = [self._trace]
        if self.sharpness:
            probes.append(SHARPNESS_PROBES[self.sharpness]())
        self._clock = Clock(pl_module.device)
        self._followed = [Followed(probe, schedule) for probe, schedule in zip(probes, self._schedules, strict=False)]
        self._last = None
        with torch.compiler.set_stance("force_eager"):  # what a first call imports belongs to the set-up
            pass

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on from what was restored, under FSDP2 after `on_fit_start`; or say what training is too short for."""
        for followed, state in zip(self._followed, self._restored, strict=False):
            followed.load_state_dict(state)
        batches = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        for followed in [] if self._restored else self._followed:
            if not followed.schedule.begin(batches):
                share, cost = followed.schedule.budget.share, followed.probe.cost
                rank_zero_info(
                    f"HessianTraceMonitor does not look at {followed.probe.names[0]}: a look costs the time of some "
                    f"{cost:g} steps, which {share:.1%} of {batches:g} batches do not pay for. To look, raise `budget` "
                    "or set `every_n_steps`."
                )
        self._restored = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Look at the batch where it is due."""
        if self._last is not None:
            self._clock.tell(self._last, self._clock.mark(), self._stepped)
        for followed in self._followed:
            if followed.schedule.next_batch():
                replay = Replay(pl_module, batch, batch_idx, mode=self.mode, optimizer=self.optimizer)
                seed = hash((trainer.global_step, batch_idx)) % 2**31
                generator = torch.Generator(pl_module.device).manual_seed(seed)
                followed.look(replay, generator, self._clock, trainer.global_step)
                self._has_news = True
        self._last = self._clock.mark()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log, where the Trainer logs next after a look, where the estimates stand; logging takes time as well."""
        if self._has_news and is_due(trainer, None):
            self._has_news = False
            start = self._clock.mark()
            self._log(pl_module, trainer.global_step)
            self._clock.tell(start, self._clock.mark(), self._schedules[0].measured)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation is no training time: nothing is earned from it."""
        self._last = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nor is what happens between epochs."""
        self._last = None

    @property
    def overhead(self) -> float:
        """The time that it has taken, as a share of the rest."""
        return sum(schedule.overhead for schedule in self._schedules)

    def bands(self, step: int) -> dict[str, Band]:
        """The running estimates at a step, by the names under which they are logged, without the prefix."""
        return {name: band for followed in self._followed for name, band in followed.bands(step).items()}

    @property
    def latest(self) -> dict[str, tuple[float, float]]:
        """What the last looks have found, each at one batch: values and standard errors (NaN where none is known)."""
        return {name: found for followed in self._followed for name, found in followed.latest.items()}

    def _stepped(self, seconds: float) -> None:
        for schedule in self._schedules:
            schedule.stepped(seconds)

    def _log(self, pl_module: LightningModule, step: int) -> None:
        """Numbers on the host, because loggers would fetch every one by itself."""
        values: dict[str, float] = {}
        for name, band in self.bands(step).items():
            kind, *rest = name.split("/")
            values[name] = band.value
            values["/".join([f"{kind}_lower", *rest])] = band.lower
            values["/".join([f"{kind}_upper", *rest])] = band.upper
        if values:
            values |= {"overhead": self.overhead, "is_hessian": float(self._trace.is_hessian)}
            logged = {f"{self.prefix}{name}": torch.tensor(value) for name, value in values.items()}
            pl_module.log_dict(logged, on_step=True, on_epoch=False)
