"""LossModule: named terms, one scalar, and a report of the parts."""

import math
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_losses.balancers.base import Balancer
from lightning_losses.balancers.branches import Branches
from lightning_losses.balancers.fixed import Fixed
from lightning_losses.balancers.place import Shared, SharedPath, make_probe
from lightning_losses.balancers.probe import Probe
from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_choice, check_number, is_transforming, message, nearest
from lightning_losses.group import Group
from lightning_losses.report import Report
from lightning_losses.term import Composite, Term

SHARED = "shared"
"""The reserved keyword of a call: where a balancer measures gradients."""

Listener = Callable[[Mapping[str, Tensor], Shared | None], None]
"""Hears, in a training call, the terms' values with their graphs and the shared place, before they are weighed."""


class LossModule(Composite):
    r"""Named losses composed into one, :math:`\sum_i w_i L_i`, with the user's weights or a balancer's.

    It replaces the line ``a * loss_1 + b * loss_2`` and nothing else: its value is a plain scalar tensor to return
    from `training_step`, so automatic optimization, accumulation, clipping, precision plugins and strategies stay
    Lightning's. In a Trainer, `lightning_losses.callbacks.LossModuleSteps` adds itself and says when an optimizer step
    ends; elsewhere every training call ends one, unless `auto_step` is False and you call `step`. In evaluation mode,
    and so in Lightning's sanity check, and inside transforms of torch.func, nothing is learnt from a batch. All state
    is in `state_dict`.

    Args:
        terms: the terms by name. Anything callable stands for `Term` of it with weight 1.
        balancer: what sets the weights; default `Fixed()`, the terms' own.
        shared: where a balancer measures gradients, if the calls do not say it: the path of a module or parameter,
            looked up in the model given to `attach`.
        auto_step: whether each training call ends an optimizer step where no Trainer says when one ends; False if you
            call `step` yourself.
        reference_steps: from the data of how many first optimizer steps the references of the bounds are estimated.
        reference_decay: for streams whose data drift: the references are estimated from every step's data instead, and
            what is older by a step counts by this factor less, in (0, 1). It costs the evaluation of the uninformed
            prediction in every step. None for the first steps alone.
        nonfinite: ``"raise"`` an error that names the term when a value is NaN or infinite, or ``"ignore"`` it.

    Raises:
        ValueError: no terms; a name that is no identifier or reserved; a balancer with no term to balance; a number out
            of its range.

    In a loop of your own with a GradScaler, set `scaler` to it, and call `discard` instead of `step` where it skipped.

    Call it with ``(input, target)`` or with keywords of your choice, which the terms name as their `inputs`; keyword
    `shared` holds features (a tensor or several), a module or parameters.

    >>> import torch
    >>> from lightning_losses import LossModule, Term, losses
    >>> criterion = LossModule({"fit": losses.MSE(), "robust": Term(losses.SmoothL1(), weight=0.5)})
    >>> criterion
    LossModule(1 * fit[MSE()](input, target) + 0.5 * robust[SmoothL1()](input, target))
    >>> loss = criterion(torch.tensor([3.0]), torch.tensor([1.0]))
    >>> loss
    tensor(4.7500)
    >>> criterion.report.raw
    {'fit': tensor(4.), 'robust': tensor(1.5000)}
    """

    def __init__(
        self,
        terms: Mapping[str, Term | nn.Module | Callable[..., Tensor]],
        balancer: Balancer | None = None,
        *,
        shared: str | None = None,
        auto_step: bool = True,
        reference_steps: int = 16,
        reference_decay: float | None = None,
        nonfinite: str = "raise",
    ) -> None:
        super().__init__()
        if not terms:
            raise ValueError(message("terms", "at least one named term", dict(terms)))
        self.terms = nn.ModuleDict()
        for name, term in terms.items():
            _check_name(name)
            self.terms[name] = term if isinstance(term, Term) else Term(term)
        self._named = {name: cast(Term, term) for name, term in self.terms.items()}
        self.balancer = Fixed() if balancer is None else balancer
        self.shared = shared
        self.auto_step = auto_step
        self.reference_steps = reference_steps
        if reference_decay is not None:
            check_number("reference_decay", reference_decay, above=0, below=1)
        self.reference_decay = reference_decay
        self.nonfinite = check_choice("nonfinite", nonfinite, ("raise", "ignore"))
        self.scaler: torch.amp.GradScaler | None = None
        self.steps = 0
        self.pending = False
        self.listeners: list[Listener] = []
        self._groups = self._make_groups()
        self._inputs = frozenset({SHARED}.union(*(term.keywords(name) for name, term in self._named.items())))
        self._report: Report | None = None
        self._checked: set[str] = set()
        self._place = SharedPath(shared)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LossModule":
        """Build from plain dicts, as YAML holds them; see `lightning_losses.build.build_loss_module`."""
        from lightning_losses.build import build_loss_module

        return build_loss_module(config)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The composed loss, a 0-d tensor in float32 or wider.

        Raises:
            TypeError: a term's input is missing, or a keyword belongs to no term; the message names both.
            ValueError: a term returned no scalar, or does not reach the shared tensor.
            FloatingPointError: a term is NaN or infinite.
        """
        call = self._name_arguments(args, kwargs)
        transforming = is_transforming()
        learning = self._learning()
        observing = self.reference_decay is not None or self.steps < self.reference_steps
        values = self._evaluate(call, learning and observing)
        if learning and not torch.compiler.is_compiling():
            for listen in self.listeners:
                listen(values, self._place.find() if call.get(SHARED) is None else call[SHARED])
        make_probe = partial(self._probe, call.get(SHARED), values) if learning else None
        shares = [share for g in self._groups if (share := g.combine(values, self.steps, make_probe)) is not None]
        total = shares[0][0] if len(shares) == 1 else torch.stack([share for share, _ in shares]).sum()
        if not transforming:  # what a transform wraps must not outlive it
            self._report = Report(total.detach(), [part for _, part in shares], self._named)
        if learning:
            self.pending = True
            if self.auto_step:
                self.step()
        return total

    def step(self) -> None:
        """End an optimizer step: the balancer and the schedules move on by what was seen since the last."""
        for term in self._named.values():
            term.keep(self.reference_decay)
        self.balancer.step()
        self.steps += 1
        self.pending = False

    def discard(self) -> None:
        """End an optimizer step that was not taken, after an overflow in float16: what was seen since is forgotten."""
        for term in self._named.values():
            term.discard()
        self.balancer.discard()
        self.pending = False

    def branch(self, features: Tensor) -> Branches:
        """The cheapest way to measure: a branch of the shared features for every term, to start its head from.

        Pass the features of each branch to the head of its term, and the branches as `shared` of the call. The
        gradients are then read off the ordinary backward, and no term's gradient is computed for itself. Every term
        needs a head of its own; in evaluation mode a branch is just the features.

        >>> import torch
        >>> from lightning_losses import LossModule, balancers
        >>> criterion = LossModule({"near": Term(), "far": Term()}, balancers.GradNorm(), auto_step=False)
        >>> branches = criterion.branch(torch.ones(2, requires_grad=True))
        >>> criterion(near=branches["near"].sum(), far=branches["far"].square().sum(), shared=branches).backward()
        >>> criterion.step()
        """
        measured = self.balancer.needs_probe and self._learning()
        return Branches(features, list(self._named), measured)

    def attach(self, model: nn.Module) -> "LossModule":
        """Tell where the path `shared` leads: a path of this model. The model does not become part of the loss.

        Raises:
            ValueError: the model has no module or parameter of that path; the message names the nearest.
        """
        self._place.attach(model)
        return self

    @property
    def is_attached(self) -> bool:
        """Whether the model is known in which the path `shared` is looked up."""
        return self._place.is_attached

    @property
    def report(self) -> Report:
        """The parts of the last call.

        Raises:
            RuntimeError: there was no call yet.
        """
        if self._report is None:
            raise RuntimeError("`report` is of the last call of the LossModule, and there was none yet.")
        return self._report

    @property
    def inputs(self) -> frozenset[str]:
        """The keywords that a call understands."""
        return self._inputs

    def bounds(self) -> Bounds:
        """The terms' bounds, summed with the weights of the last call; before one, with the user's."""
        if not self.balancer.is_weighted_sum:
            return Bounds(-math.inf, math.inf)
        if self._report is None:
            parts = [term.bounds().scaled(term.schedule(self.steps)) for term in self._named.values()]
        else:
            parts = [self._named[name].bounds().scaled(weight) for name, weight in self._report.weights.items()]
        return reduce(Bounds.plus, parts)

    def _learning(self) -> bool:
        return self.training and torch.is_grad_enabled() and not is_transforming()

    def _make_groups(self) -> list[Group]:
        """The balanced terms and, with the user's own weights, the rest."""
        balanced = {name: term for name, term in self._named.items() if term.balanced}
        rest = {name: term for name, term in self._named.items() if not term.balanced}
        if not balanced:
            raise ValueError("`terms` must hold a term with balanced=True, found none.")
        check = self.nonfinite == "raise"
        groups = [Group(balanced, self.balancer, check)]
        return [*groups, Group(rest, Fixed(), check)] if rest else groups

    def _name_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if len(args) > 2:
            raise TypeError(f"A LossModule takes (input, target) by position, found {len(args)} positional arguments.")
        call = dict(zip(("input", "target"), args, strict=False))
        for name, value in kwargs.items():
            if name in call:
                raise TypeError(f"The call gives {name!r} twice, by position and by keyword.")
            if name not in self._inputs:
                raise TypeError(f"{name!r} is not an input of any term. {nearest(name, self._inputs)}")
            call[name] = value
        return call

    def _evaluate(self, call: Mapping[str, Any], observe: bool) -> dict[str, Tensor]:
        values = {}
        for name, term in self._named.items():
            selected = term.select(name, call)
            if selected is None:
                continue
            values[name] = term(name, *selected)
            if observe:
                term.observe(*selected)
        if not values:
            raise ValueError("No term has its inputs in this call; at least one must.")
        return values

    def _probe(self, shared: Shared | None, values: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> Probe:
        if isinstance(shared, Branches):
            if self.auto_step:
                raise RuntimeError(
                    "Branches are measured in the backward, so a training call cannot end the step: build the "
                    "LossModule with auto_step=False and call its step() after optimizer.step(). In a Lightning "
                    "Trainer the callback LossModuleSteps does so by itself."
                )
            if not self._checked.issuperset(values):  # walking the graph costs little, but not nothing
                shared.check(values, losses)
                self._checked.update(values)
        return make_probe(self._place.find() if shared is None else shared, losses, self.scaler)

    def get_extra_state(self) -> dict[str, Any]:
        """The number of optimizer steps."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.steps = state["steps"]

    def __repr__(self) -> str:
        balancer = "" if repr(self.balancer) == "Fixed()" else f", balanced by {self.balancer!r}"
        return f"LossModule({' + '.join(term.formula(name) for name, term in self._named.items())}{balancer})"


def _check_name(name: str) -> None:
    """Names become keywords of calls, keys of state_dict and of logged metrics."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(message("terms", "named by identifiers (letters, digits, underscores)", name))
    if name == SHARED or name in dir(nn.ModuleDict):
        raise ValueError(message("terms", "named by words that are not reserved", name))
