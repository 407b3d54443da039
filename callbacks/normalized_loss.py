"""Every loss against its own bounds, and a report of values that it cannot have."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_losses.balancers.place import Shared
from lightning_losses.bounds import Bounds
from lightning_losses.callbacks.every_n_steps import check_every_n_steps, is_due, is_last_batch, step_of
from lightning_losses.callbacks.listening import Listening, criteria_of, full_name
from lightning_losses.callbacks.loss_findings import Finding, FindingsFolder, Where
from lightning_losses.callbacks.loss_sources import LossSources
from lightning_losses.callbacks.loss_sums import loss_figures, loss_sums
from lightning_losses.callbacks.loss_trend import LossTrends
from lightning_losses.checks import check_number
from lightning_losses.distributed import sum_over_ranks
from lightning_losses.numerics import widest
from lightning_losses.watch import ValueWatch


class NormalizedLossMonitor(Callback):
    r"""Logs where every loss stands between its best value and that of a model that knows nothing.

    It watches all terms of every `LossModule` in the model, and with `bounds` losses of any other origin; without
    either, that the returned loss is finite. Every `every_n_steps` steps it logs, from the mean over the step's
    micro-batches and ranks,

    - ``losses/normalized/<term>``, :math:`(L - \text{lower}) / (\text{reference} - \text{lower})`: 0 is perfect, 1 is
      knowing nothing; of the terms that have a reference;
    - ``losses/weight/<term>`` and ``losses/share/<term>``, :math:`|w_i L_i| / \sum_j |w_j L_j|` of its LossModule;
    - ``losses/plateau/<term>``, 1 when the smoothed normalised value has not improved by 0.01 for `plateau_steps`, and
      ``losses/too_good/<term>``, 1 when it is below `too_good` before step `too_good_steps`: labels may leak into
      the input, or a mask may hide all that is hard. The first of each is warned of.

    In a model of several LossModules a term is called by the path of its LossModule too, ``critic.criterion/real``. Of
    one that is called several times in a batch the last call is logged.

    In every batch, on every rank and in every call a value that is NaN, infinite or below its lower bound is a finding:
    warned of with term, step and batch, kept in `findings`, written to a file and, with `save_batch`, the batch with
    it. A bound that is estimated from the data is no limit for one batch and not checked. A
    ``LossModule(nonfinite="raise")`` stops the training by itself, and the finding is written all the same. Of a
    compiled LossModule only the last call of a batch is checked.

    Cost: some operations on scalars a batch; at a logged step one collective and one transfer to the host. On CUDA
    the check for findings waits for nothing: it speaks a step or two later, of the right batch.

    Args:
        every_n_steps: log at every n-th step; None for every step that the Trainer logs.
        bounds: of losses outside of LossModules, by the name under which they are logged in every step, or ``"loss"``
            for what `training_step` returns (Lightning's division by `accumulate_grad_batches` is undone).
        plateau_steps: see above.
        too_good: see above.
        too_good_steps: see above.
        save_batch: whether to save the batch of the first finding of a term and kind.
        dirpath: where findings are written; None for ``loss_findings`` in the Trainer's log directory.
        prefix: what the logged names begin with; two monitors in one Trainer need different ones.

    Raises:
        ValueError: a number out of its range; in training, a name in `bounds` that is not logged.

    >>> from lightning_losses import Bounds
    >>> NormalizedLossMonitor(bounds={"train_loss": Bounds(lower=0.0, reference=2.3)}).prefix
    'losses/'
    """

    def __init__(
        self,
        *,
        every_n_steps: int | None = None,
        bounds: dict[str, Bounds] | None = None,
        plateau_steps: int = 1000,
        too_good: float = 0.01,
        too_good_steps: int = 100,
        save_batch: bool = False,
        dirpath: str | None = None,
        prefix: str = "losses/",
    ) -> None:
        self.every_n_steps = check_every_n_steps(every_n_steps)
        self.bounds = bounds or {}
        self.trends = LossTrends(
            plateau_steps=int(check_number("plateau_steps", plateau_steps, at_least=1)),
            too_good=check_number("too_good", too_good, at_least=0, below=1),
            too_good_steps=int(check_number("too_good_steps", too_good_steps, at_least=0)),
        )
        self.save_batch = save_batch
        self.dirpath = dirpath
        self.prefix = prefix
        self._watch = ValueWatch()
        self._sources = LossSources({}, {})
        self._sums: Tensor | None = None
        self._folder: FindingsFolder | None = None
        self._listening = Listening({}, self._hear)
        self._forget()

    def _forget(self) -> None:
        """What belongs to one batch."""
        self._heard: list[tuple[str, Tensor]] = []
        self._batch: tuple[Any, int] | None = None

    @property
    def state_key(self) -> str:
        """One state a prefix."""
        return self._generate_state_key(prefix=self.prefix)

    def state_dict(self) -> dict[str, Any]:
        """The smoothed course of every loss."""
        return self.trends.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.trends.load_state_dict(state_dict)

    @property
    def findings(self) -> list[Finding]:
        """What was wrong on this rank in the last fit."""
        return [] if self._folder is None else self._folder.findings

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the LossModules."""
        folder = self.dirpath or Path(trainer.log_dir or trainer.default_root_dir) / "loss_findings"
        self._folder = FindingsFolder(Path(folder), self.save_batch)
        self._watch, self._sums = ValueWatch(), None
        criteria = criteria_of(pl_module)
        self._sources = LossSources(criteria, self.bounds)
        self._listening = Listening(criteria, self._hear)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Listen, and note which reports are of earlier batches."""
        self._forget()
        self._batch = batch, batch_idx
        self._sources.begin()
        self._listening.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check every value of the batch; log the step if it is due and complete."""
        self._listening.stop()
        bounds = self._sources.bounds()
        seen = self._sources.see(trainer, outputs)
        heard = {name for name, _ in self._heard}
        self._heard += [(name, value) for name, (value, _) in seen.items() if name not in heard]
        self._check(trainer, bounds)
        if is_due(trainer, self.every_n_steps):
            sums = loss_sums(seen, list(bounds), pl_module.device)
            self._sums = sums if self._sums is None else self._sums + sums
            if is_last_batch(trainer):
                self._log(trainer, pl_module, bounds, sum_over_ranks(self._sums))
                self._sums = None
        self._forget()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check what is still on its way from the device."""
        self._flush(pl_module.device)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A LossModule may have stopped the training: what for is written down here."""
        self._listening.stop()
        if isinstance(exception, FloatingPointError):
            self._check(trainer, self._sources.bounds())
            self._flush(pl_module.device)
        self._forget()

    def _hear(self, path: str, values: Mapping[str, Tensor], shared: Shared | None) -> None:
        self._heard += [(full_name(path, name), value.detach()) for name, value in values.items()]

    def _check(self, trainer: Trainer, bounds: Mapping[str, Bounds]) -> None:
        """Look for findings in what was heard."""
        if not self._heard or self._folder is None or self._batch is None:
            return
        batch, batch_idx = self._batch
        where = Where(step_of(trainer), batch_idx, trainer.current_epoch, trainer.global_rank)
        its_bounds = [(name, bounds[name]) for name, _ in self._heard]
        values = torch.stack([widest(value) for _, value in self._heard])
        kept = batch if self.save_batch else None  # on CUDA the watch would keep it alive for a while
        self._watch.look(values, partial(self._folder.check, where, its_bounds, kept))

    def _log(self, trainer: Trainer, pl_module: LightningModule, bounds: Mapping[str, Bounds], sums: Tensor) -> None:
        """Numbers on the host, because loggers would fetch every one by itself."""
        figures = loss_figures(sums, bounds, terms=self._sources.term_bounds().keys())
        for name in bounds:
            if (normalized := figures.get(f"normalized/{name}")) is not None:
                flags = self.trends.add(name, float(normalized), step_of(trainer))
                figures |= {f"{kind}/{name}": torch.tensor(float(is_set)) for kind, is_set in flags.items()}
        pl_module.log_dict({f"{self.prefix}{name}": value.float() for name, value in figures.items()}, on_epoch=False)

    def _flush(self, device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            self._watch.look(torch.empty(0, device=device), lambda _: None)
