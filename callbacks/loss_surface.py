"""Pictures of the loss surface around the parameters that training has reached."""

import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightning_losses.callbacks.curvature_strategies import check_strategy, check_whole_parameters
from lightning_losses.callbacks.figures import log_figure
from lightning_losses.callbacks.over_ranks import or_nan
from lightning_losses.callbacks.replay import Replay
from lightning_losses.callbacks.surface_directions import Plane, eigen_plane, random_plane, trajectory_plane
from lightning_losses.callbacks.surface_figure import Surface
from lightning_losses.checks import check_choice, check_number
from lightning_losses.curvature.directions import loss_at
from lightning_losses.curvature.estimate import Objective, Parameters
from lightning_losses.curvature.surfaces import plane_2d, slice_1d
from lightning_losses.distributed import sum_over_ranks, world_size

LEAST_POINTS = 5
MOST_STOPS = 40
"""Of a trajectory that are kept; when there are more, every second one is forgotten."""


class LossSurfacePlot(Callback):
    r"""Draws the loss along lines or on a plane through the parameters, at the end of training or of epochs.

    .. math::
        L(\theta + x\,d_1 + y\,d_2), \qquad -r \le x, y \le r

    The loss is that of `training_step` on the last batches of training, run again without a trace (see `Replay`), in
    evaluation mode; dropout is off and the weights of a LossModule are those of now. Directions:

    - ``"random"``: normal, each filter as long as that of the weights (Li et al. 2018, arXiv:1712.09913), so pictures
      of networks with different scales can be compared. The unit of x and y is the length of the filters;
    - ``"eigen"``: the eigenvectors of the two largest eigenvalues of the Hessian. The unit is the distance at which the
      quadratic model doubles the loss. It needs a loss that can be differentiated twice;
    - ``"trajectory"``: the plane in which training has moved most, epoch by epoch, with its path.

    A picture of two directions of millions says little of the others. Compare pictures, do not trust one.

    Figures are written as PNG with their numbers as `.pt`, and handed to the loggers (see `log_figure`).

    Args:
        directions: see above.
        lines: draw the losses along each of the two directions instead of the plane.
        points: places along each direction, odd so that 0 is one of them.
        radius: r, in the units above; ``"trajectory"`` takes what holds its path.
        every_n_epochs: draw at the end of every n-th epoch too; None for the end of training only.
        batches: how many of the last training batches make the loss.
        max_seconds: what one picture may take. Where `points` would take longer there are fewer, but at least 5.
        mode: of normalisation layers, ``"eval"`` or ``"train"``.
        optimizer: the index of the optimizer whose parameters are moved, where there are several.
        seed: of the random directions.
        dirpath: where pictures go; None for ``loss_surface`` in the Trainer's log directory.

    Raises:
        ValueError: a number out of its range, an unknown kind of directions.
        IncompatibleError: in `setup`, a strategy under which parameters cannot be moved.

    >>> LossSurfacePlot(directions="eigen", points=31, every_n_epochs=10).points
    31
    """

    def __init__(
        self,
        *,
        directions: Literal["random", "eigen", "trajectory"] = "random",
        lines: bool = False,
        points: int = 21,
        radius: float = 1.0,
        every_n_epochs: int | None = None,
        batches: int = 1,
        max_seconds: float = 60.0,
        mode: Literal["eval", "train"] = "eval",
        optimizer: int = 0,
        seed: int = 0,
        dirpath: str | None = None,
    ) -> None:
        self.directions = check_choice("directions", directions, ("random", "eigen", "trajectory"))
        self.lines = lines
        self.points = int(check_number("points", points, at_least=LEAST_POINTS))
        self.radius = check_number("radius", radius, above=0)
        self.every_n_epochs = every_n_epochs and int(check_number("every_n_epochs", every_n_epochs, at_least=1))
        self.max_seconds = check_number("max_seconds", max_seconds, above=0)
        self.mode = mode
        check_choice("mode", mode, ("eval", "train"))
        self.optimizer = int(check_number("optimizer", optimizer, at_least=0))
        self.seed = seed
        self.dirpath = dirpath
        self._batches: deque[tuple[Any, int]] = deque(maxlen=int(check_number("batches", batches, at_least=1)))
        self._stops: list[Parameters] = []
        self._drawn_at = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse strategies under which parameters cannot be moved.

        Raises:
            IncompatibleError: the message names the strategy and what to do instead.
        """
        if stage == "fit":
            check_strategy(trainer, type(self).__name__)
            check_whole_parameters(trainer, type(self).__name__, "look at a checkpoint in one process")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin without memory of another fit."""
        self._batches.clear()
        self._stops, self._drawn_at = [], -1
        logs = trainer.log_dir  # a collective: every rank has to ask
        self._folder = Path(self.dirpath or Path(logs or trainer.default_root_dir) / "loss_surface")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the batch, and where the first step starts from."""
        self._batches.append((batch, batch_idx))
        if not self._stops:
            self._stops = self._with_present(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the epoch has led, and draw if that is due."""
        self._stops = self._with_present(pl_module)
        if self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self.draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw where training has led."""
        if self._drawn_at != trainer.global_step:
            self.draw(trainer, pl_module)

    def draw(self, trainer: Trainer, pl_module: LightningModule) -> Path | None:
        """Draw now; the path of the PNG, None where training has not seen enough to draw from."""
        if not self._batches or (self.directions == "trajectory" and len(self._stops) < 2):
            return None
        replays = [Replay(pl_module, batch, i, mode=self.mode, optimizer=self.optimizer) for batch, i in self._batches]

        def objective(parameters: Parameters) -> Tensor:
            return torch.stack([replay(parameters) for replay in replays]).mean()

        parameters = replays[0].parameters
        plane = self._plane(objective, parameters)
        if plane is None:
            rank_zero_warn(
                f"The loss surface at step {trainer.global_step} has no eigenvectors: it is not finite there."
            )
            return None
        at, losses = self._losses(trainer, objective, parameters, plane)
        self._drawn_at = trainer.global_step
        if not trainer.is_global_zero:
            return None
        count = len(replays) * world_size()
        title = (
            f"Loss of {f'{count} batches' if count > 1 else 'a batch'}, {self.mode} mode, step {trainer.global_step}"
        )
        return self._write(trainer, Surface(at, losses, plane.names, plane.path, title, not self.lines))

    def _with_present(self, model: LightningModule) -> list[Parameters]:
        """The stops of the trajectory and where training stands now, in the memory of the host."""
        if self.directions != "trajectory":
            return []
        now = Replay(model, None, 0, optimizer=self.optimizer).parameters
        stops = self._stops[::2] if len(self._stops) >= MOST_STOPS else self._stops
        return [*stops, {name: p.cpu().clone() for name, p in now.items()}]

    def _plane(self, objective: Objective, parameters: Parameters) -> Plane | None:
        if self.directions == "random":
            return random_plane(parameters, self.seed)
        if self.directions == "eigen":
            return eigen_plane(objective, parameters, self.seed)
        return trajectory_plane(self._stops, parameters)

    def _losses(
        self, trainer: Trainer, objective: Objective, parameters: Parameters, plane: Plane
    ) -> tuple[Tensor, Tensor]:
        """The grid and the losses on it, the mean of all ranks'."""
        objective = or_nan(objective)
        points = self._affordable(objective, parameters)
        half = points // 2
        at = torch.arange(-half, half + 1) / half * (1.0 if self.directions == "trajectory" else self.radius)
        bar = tqdm(desc="Loss surface", leave=False, disable=trainer.progress_bar_callback is None)
        with bar:
            if self.lines:
                lines = [slice_1d(objective, parameters, direction, at) for direction in plane.directions]
                losses = torch.stack(lines)
            else:
                losses = plane_2d(objective, parameters, plane.directions, at, at, partial(_show, bar))
        return at, (sum_over_ranks(losses) / world_size()).cpu()

    def _affordable(self, objective: Objective, parameters: Parameters) -> int:
        """How many points a side fit into `max_seconds`, an odd number."""
        loss_at(objective, parameters)
        start = time.perf_counter()
        float(loss_at(objective, parameters))
        seconds = torch.tensor(time.perf_counter() - start, device=next(iter(parameters.values())).device)
        losses = self.max_seconds / (float(sum_over_ranks(seconds)) / world_size())
        points = min(self.points, int(losses / 2 if self.lines else losses**0.5))
        return max(LEAST_POINTS, points - 1 + points % 2)

    def _write(self, trainer: Trainer, surface: Surface) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self.directions}-step{trainer.global_step}.png"
        surface.save(path.with_suffix(".pt"))
        log_figure(trainer, f"loss_surface/{self.directions}", surface.figure(), path)
        return path


def _show(bar: Any, done: int, of: int) -> None:
    bar.total = of
    bar.update(done - bar.n)
