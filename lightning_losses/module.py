"""LossModule: named terms, one scalar, and a report of the parts."""

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_losses.balancers.base import Balancer, Present
from lightning_losses.balancers.fixed import Fixed
from lightning_losses.balancers.probe import Probe, Shared, make_probe
from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_choice, message, nearest
from lightning_losses.report import Report
from lightning_losses.term import Composite, Term
from lightning_losses.watch import ValueWatch, check_values

SHARED = "shared"
"""The reserved keyword of a call: where a balancer measures gradients."""


class LossModule(Composite):
    r"""Named losses composed into one, :math:`\sum_i w_i L_i`, with the user's weights or a balancer's.

    It replaces the line ``a * loss_1 + b * loss_2`` and nothing else: its value is a plain scalar tensor to return
    from `training_step`, so automatic optimization, accumulation, clipping, precision plugins and strategies stay
    Lightning's. Every training call counts as one optimizer step unless `auto_step` is False. In evaluation mode, and
    so in Lightning's sanity check, nothing is learnt from a batch. All state is in `state_dict`.

    Args:
        terms: the terms by name. Anything callable stands for `Term` of it with weight 1.
        balancer: what sets the weights; default `Fixed()`, the terms' own.
        shared: where a balancer measures gradients, if the calls do not say it: the path of a module or parameter,
            looked up in the model given to `attach`.
        auto_step: whether each training call ends an optimizer step; False if you call `step` yourself.
        reference_batches: from how many first batches the data-dependent references of the bounds are estimated.
        nonfinite: ``"raise"`` an error that names the term when a value is NaN or infinite, or ``"ignore"`` it.

    Raises:
        ValueError: no terms; a name that is no identifier or reserved; a balancer with no term to balance.

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
        reference_batches: int = 16,
        nonfinite: str = "raise",
    ) -> None:
        super().__init__()
        if not terms:
            raise ValueError(message("terms", "at least one named term", dict(terms)))
        self.terms = nn.ModuleDict()
        for name, term in terms.items():
            _check_name(name)
            self.terms[name] = term if isinstance(term, Term) else Term(term)
        self.balancer = Fixed() if balancer is None else balancer
        self.shared = shared
        self.auto_step = auto_step
        self.reference_batches = reference_batches
        self.nonfinite = check_choice("nonfinite", nonfinite, ("raise", "ignore"))
        self.steps = 0
        self.calls = 0
        balanced = [name for name, term in self._named_terms() if term.balanced]
        if not balanced:
            raise ValueError("`terms` must hold a term with balanced=True, found none.")
        self.balancer.bind(balanced, [self._term(name).schedule(0) for name in balanced])
        self._order = [*balanced, *(name for name in self.terms if name not in balanced)]
        self._inputs = frozenset({SHARED}.union(*(term.keywords(name) for name, term in self._named_terms())))
        self._report: Report | None = None
        self._root: tuple[nn.Module, ...] = ()  # in a tuple, so that the model does not become a submodule
        self._prior_list: list[float] = []
        self._priors = torch.empty(0)
        self._watch = ValueWatch()

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
        shared = call.get(SHARED)
        learning = self.training and torch.is_grad_enabled()
        values = self._evaluate(call, learning and self.calls < self.reference_batches)
        total, weights = self._combine(values, shared, learning)
        raw = {name: value.detach() for name, value in values.items()}
        self._report = Report(total.detach(), raw, weights, dict(self._named_terms()))
        if learning:
            self.calls += 1
            if self.auto_step:
                self.step()
        return total

    def step(self) -> None:
        """End an optimizer step: the balancer and the schedules move on. Called by itself unless `auto_step=False`."""
        self.balancer.step()
        self.steps += 1

    def attach(self, model: nn.Module) -> "LossModule":
        """Tell where the path `shared` leads: a path of this model. The model does not become part of the loss.

        Raises:
            ValueError: the model has no module or parameter of that path; the message names the nearest.
        """
        self._root = (model,)
        if self.shared is not None:
            self._find_shared(self.shared)
        return self

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
        r"""The range of the total at the weights of the last call (before one, the user's): :math:`\sum_i w_i` bounds."""
        if not self.balancer.is_weighted_sum:
            return Bounds(-math.inf, math.inf)
        weights: Mapping[str, float | Tensor] = (
            {name: term.schedule(self.steps) for name, term in self._named_terms()}
            if self._report is None
            else self._report.weights
        )
        parts = [(weights[name], self._term(name).bounds()) for name in weights]
        references = [w * b.reference for w, b in parts if b.reference is not None]
        return Bounds(
            lower=sum(w * b.lower for w, b in parts),
            upper=sum(w * b.upper for w, b in parts),
            reference=sum(references) if len(references) == len(parts) else None,
        )

    def _name_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if len(args) > 2:
            raise TypeError(f"A LossModule takes (input, target) by position, found {len(args)} positional arguments.")
        call = dict(zip(("input", "target"), args, strict=False))
        for name in kwargs.keys() & call.keys():
            raise TypeError(f"The call gives {name!r} twice, by position and by keyword.")
        call |= kwargs
        if unknown := call.keys() - self.inputs:
            name = min(unknown)
            raise TypeError(f"{name!r} is not an input of any term. {nearest(name, self.inputs)}")
        return call

    def _evaluate(self, call: Mapping[str, Any], observe: bool) -> dict[str, Tensor]:
        values = {}
        for name, term in self._named_terms():
            selected = term.select(name, call)
            if selected is None:
                continue
            values[name] = term(name, *selected)
            if observe:
                term.observe(*selected)
        if not values:
            raise ValueError("No term has its inputs in this call; at least one must.")
        return values

    def _combine(
        self, values: Mapping[str, Tensor], shared: Shared | None, learning: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and the weights: the balancer's for the balanced terms, which come first, the user's for the rest."""
        names = [name for name in self._order if name in values]
        losses = torch.stack([values[name] for name in names])
        priors = self._prior_tensor(losses)
        terms = len(self.balancer.names)
        present = sum(name in values for name in self.balancer.names)
        if self.nonfinite == "raise" and not torch.compiler.is_compiling():
            self._look(losses.detach(), names, present)
        total, weights = losses.new_zeros(()), losses.new_empty(0)
        if present:
            probe = self._probe(shared, {name: values[name] for name in names[:present]}) if learning and self.balancer.needs_probe else None
            which = self._indices(names[:present], terms, losses.device)
            total, weights = self.balancer(losses[:present], priors[:terms], which, probe)
        if present < len(names):
            rest = priors[terms:][self._indices(names[present:], len(self._order) - terms, losses.device, terms)]
            total = total + (rest * losses[present:]).sum()
            weights = torch.cat([weights, rest])
        by_name = dict(zip(names, weights.unbind(), strict=True))
        return total, {name: by_name[name] for name in values}

    def _indices(self, names: list[str], of: int, device: torch.device, first: int = 0) -> Present:
        if len(names) == of:
            return slice(None)
        return torch.tensor([self._order.index(name) - first for name in names], device=device)

    def _probe(self, shared: Shared | None, losses: Mapping[str, Tensor]) -> Probe:
        return make_probe(self._find_shared(self.shared) if shared is None and self.shared else shared, losses)

    def _find_shared(self, path: str) -> nn.Module | Tensor:
        if not self._root:
            raise RuntimeError(
                f"`shared`={path!r} is a path in a model that is not known yet. Call criterion.attach(self) in the "
                "LightningModule's __init__ or setup, or pass shared=features in the call."
            )
        places: dict[str, nn.Module | Tensor] = dict(self._root[0].named_modules())
        places |= dict(self._root[0].named_parameters())
        if path not in places:
            raise ValueError(f"`shared` must be the path of a module or parameter, found {path!r}. {nearest(path, places)}")
        return places[path]

    def _prior_tensor(self, like: Tensor) -> Tensor:
        """The user's weights at this step, in the order of `_order`; kept while they do not change."""
        weights = [self._term(name).schedule(self.steps) for name in self._order]
        if weights != self._prior_list or self._priors.device != like.device or self._priors.dtype != like.dtype:
            self._prior_list = weights
            self._priors = torch.tensor(weights, dtype=like.dtype).to(like.device, non_blocking=True)
        return self._priors

    def _look(self, losses: Tensor, names: list[str], balanced: int) -> None:
        step, positive = self.steps, self.balancer.needs_positive and self.training

        def check(values: list[float]) -> None:
            check_values(names[:balanced], values[:balanced], positive, step)
            check_values(names[balanced:], values[balanced:], False, step)

        self._watch.look(losses, check)

    def _term(self, name: str) -> Term:
        return cast(Term, self.terms[name])

    def _named_terms(self) -> list[tuple[str, Term]]:
        return [(name, cast(Term, term)) for name, term in self.terms.items()]

    def get_extra_state(self) -> dict[str, Any]:
        """The counters of optimizer steps and of training calls."""
        return {"steps": self.steps, "calls": self.calls}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.steps, self.calls = state["steps"], state["calls"]

    def __repr__(self) -> str:
        balancer = "" if repr(self.balancer) == "Fixed()" else f", balanced by {self.balancer!r}"
        return f"LossModule({' + '.join(term.formula(name) for name, term in self._named_terms())}{balancer})"


def _check_name(name: str) -> None:
    """Names become keywords of calls, keys of state_dict and of logged metrics."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(message("terms", "named by identifiers (letters, digits, underscores)", name))
    if name == SHARED or name in dir(nn.ModuleDict):
        raise ValueError(message("terms", "named by words that are not reserved", name))
