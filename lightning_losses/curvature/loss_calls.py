"""Where a loss that any code computes leaves the network: its calls of known losses, and what it makes of them."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from lightning_losses.curvature.graph import Node, is_leaf, operands
from lightning_losses.functional.fused import eager_formulas
from lightning_losses.losses.base import ElementwiseLoss, Loss
from lightning_losses.numerics import at_least_float32
from lightning_losses.reduction import Parts, reduce
from lightning_losses.term import Term

Values = Callable[[Tensor], Tensor]

KNOWN = {
    F.cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.mse_loss,
    F.smooth_l1_loss,
    F.huber_loss,
    F.l1_loss,
    F.poisson_nll_loss,
    F.soft_margin_loss,
    F.binary_cross_entropy,
}
"""Functions of torch whose per-element values depend on the outputs of the same element only."""

DIFFERENCES = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "MSE", "SmoothL1", "MAE", "Huber", "LogCosh"}
"""Losses that see the difference of outputs and target alone, so that either may come from the network, or both."""

LOG_SOFTMAX = {F.log_softmax, torch.log_softmax, Tensor.log_softmax}

LINEAR = re.compile(
    "(Add|Alias|AsStrided|Cat|Clone|Copys|Div|Dot|Expand|Index|IndexSelect|MaskedFill|MaskedSelect|Mean|Mul|Mv|Neg|"
    "Permute|ReshapeAlias|Rsub|Select|Slice|Split|Squeeze|Stack|Sub|Sum|ToCopy|Transpose|Unbind|UnsafeView|Unsqueeze|"
    "View|Where)Backward\\d*"
)
"""Nodes that are linear in their differentiable operand; products and quotients, if they have only one."""

PRODUCTS = ("Mul", "Div", "Dot", "Mv")


class NoLikelihoodError(ValueError):
    """A loss that is no sum of known losses of a network's outputs, so no Gauss-Newton matrix is known."""


@dataclass(frozen=True, eq=False)
class LossCall:
    """One call of a loss.

    Args:
        name: of the loss.
        outputs: what the network gave it, a copy with its graph, since code may change its own in place afterwards.
        result: the place in the graph of what it returned, which ``loss += ...`` does not change.
        values: the per-element values as a function of outputs: of the shape of the outputs, or without the one axis
            along which the numbers of an element lie.
        share: what an element adds to the result per unit of its value; None if the result is the values.
        term: the term of a LossModule that it is part of, None outside of one.
    """

    name: str
    outputs: Tensor
    result: GradientEdge
    values: Values
    share: float | Tensor | None
    term: str | None = None


@dataclass
class LossCalls:
    """What was recorded.

    Args:
        known: calls of losses that are sums over elements.
        others: why the result of another loss has no known Hessian in the outputs, by the node of the result.
    """

    known: list[LossCall] = field(default_factory=list)
    others: dict[Node, str] = field(default_factory=dict)

    def coefficients(self, total: Tensor) -> list[tuple[LossCall, Tensor]]:
        """The calls that `total` was made of, with its derivatives by their results.

        Raises:
            NoLikelihoodError: `total` is not linear in them, or depends on parameters in another way; the message names
                what is in the way.
        """
        found = self._linear_in(total, {call.result.node: call for call in self.known})
        results = [call.result for call in found]
        slopes = torch.autograd.grad(total, results, retain_graph=True)
        return [(call, slope.detach()) for call, slope in zip(found, slopes, strict=True)]

    def _linear_in(self, total: Tensor, nodes: Mapping[Node, LossCall]) -> list[LossCall]:
        found: list[LossCall] = []
        waiting, seen = [total.grad_fn], set[Node]()
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if node in nodes:
                found.append(nodes[node])
                continue
            self._check(node)
            waiting.extend(operands(node))
        if not found:
            raise NoLikelihoodError("The loss is made of no known loss of a network's outputs.")
        return [call for call in self.known if call in found]

    def _check(self, node: Node) -> None:
        if node in self.others:
            raise NoLikelihoodError(self.others[node])
        if is_leaf(node):
            raise NoLikelihoodError("The loss depends on a parameter other than through a known loss.")
        kind = node.name()
        if not LINEAR.fullmatch(kind) or (kind.startswith(PRODUCTS) and len(operands(node)) > 1):
            raise NoLikelihoodError(
                f"The loss depends on the network through {kind}, which belongs to no known loss of its outputs."
            )


@contextmanager
def record_loss_calls() -> Iterator[LossCalls]:
    """Records the losses that are called inside: those of `torch.nn.functional` and of this library.

    >>> z = torch.zeros(2, 3, requires_grad=True)
    >>> with record_loss_calls() as calls:
    ...     loss = 2 * F.cross_entropy(z, torch.tensor([0, 1]))
    >>> [(call.name, float(slope)) for call, slope in calls.coefficients(loss)]
    [('cross_entropy', 2.0)]
    """
    mode = _Recorder()
    hooks = [
        nn.modules.module.register_module_forward_pre_hook(mode.enter),
        nn.modules.module.register_module_forward_hook(mode.leave, with_kwargs=True),
    ]
    try:
        with mode:
            yield mode.calls
    finally:
        for hook in hooks:
            hook.remove()
            nn.modules.module._global_forward_hooks_with_kwargs.pop(hook.id, None)  # torch forgets to


class _Recorder(TorchFunctionMode):
    """Hears calls of torch's functions, and of this library's losses, inside of which it does not listen."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = LossCalls()
        self._logits: dict[Node, Tensor] = {}
        self._inside = 0
        self._term: str | None = None
        self._owner: Term | None = None

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if self._inside or not isinstance(result, Tensor) or not result.requires_grad:
            return result
        if function in LOG_SOFTMAX:
            self._logits[result.grad_fn] = args[0] if args else (kwargs or {})["input"]
        elif function in KNOWN:
            self._keep(function.__name__, result, _arguments(function, args, kwargs), partial(_of_torch, function))
        elif function is F.nll_loss:
            call = _arguments(function, args, kwargs)
            logits = self._logits.get(call["input"].grad_fn)
            if logits is not None and torch.equal(logits.log_softmax(_class_axis(logits)), call["input"]):
                call |= {"input": logits, "label_smoothing": 0.0}
                self._keep("cross_entropy", result, call, partial(_of_torch, F.cross_entropy))
        return result

    def enter(self, module: nn.Module, args: Any) -> None:
        self._inside += isinstance(module, Loss)
        if isinstance(module, Term) and self._term is None:  # of nested LossModules, the outermost term
            self._term, self._owner = args[0], module

    def leave(self, module: nn.Module, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        if module is self._owner:
            self._term = self._owner = None
        if not isinstance(module, Loss):
            return
        self._inside -= 1
        if self._inside or not isinstance(result, Tensor) or not result.requires_grad:
            return
        name = type(module).__name__
        if isinstance(module, ElementwiseLoss):
            call = dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)
            self._keep(name, result, call, partial(_of_library, module))
        else:
            self.calls.others[result.grad_fn] = f"The loss {name} is no sum over elements of a network's outputs."

    def _keep(self, name: str, result: Tensor, call: dict[str, Any], make: Callable[..., LossCall]) -> None:
        if name in DIFFERENCES and call["target"].requires_grad:
            difference = call["input"] - call["target"]
            call |= {"input": difference, "target": torch.zeros_like(difference)}
        outputs = call.pop("input").clone()
        for parameter, value in call.items():
            if isinstance(value, Tensor):
                call[parameter] = at_least_float32(value.detach())
                if value.requires_grad:
                    self.calls.others[result.grad_fn] = f"The {parameter} of the loss {name} depends on parameters too."
                    return
        self.calls.known.append(replace(make(name, outputs, get_gradient_edge(result), call), term=self._term))


def _arguments(function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    bound = inspect.signature(function).bind(*args, **(kwargs or {}))
    bound.apply_defaults()
    return dict(bound.arguments)


def _class_axis(logits: Tensor) -> int:
    return 1 if logits.ndim > 1 else 0


def _of_torch(
    function: Callable[..., Tensor], name: str, outputs: Tensor, result: GradientEdge, call: dict[str, Any]
) -> LossCall:
    reduction = call["reduction"]
    call |= {"reduction": "none"} | {name: None for name in ("size_average", "reduce") if name in call}
    share: float | Tensor | None = {"none": None, "sum": 1.0}.get(reduction)
    if reduction == "mean":
        share = 1.0 / _count(function, outputs, call)
    return LossCall(name, outputs, result, lambda z: function(z, **call), share)


def _count(function: Callable[..., Any], outputs: Tensor, call: Mapping[str, Any]) -> Tensor | float:
    """What torch divides by for the mean."""
    target, weight = call["target"], call.get("weight")
    if function is not F.cross_entropy:
        return float((outputs.detach() - target).numel())
    if target.is_floating_point():
        return float(outputs.numel() // outputs.shape[1])
    kept: Tensor = target != call["ignore_index"]
    counted: Tensor = kept.to(outputs) if weight is None else weight[target.where(kept, 0)] * kept
    return counted.sum()


def _of_library(
    module: ElementwiseLoss, name: str, outputs: Tensor, result: GradientEdge, call: dict[str, Any]
) -> LossCall:
    def parts(z: Tensor) -> Parts:
        with eager_formulas():  # it will be differentiated twice
            return module._parts(z, call["target"], call.get("weight"), call.get("mask"))

    share: float | Tensor | None = {"none": None, "sum": 1.0}.get(module.reduction)
    if module.reduction == "mean":
        found = parts(outputs.detach())
        ones = torch.ones_like(found.values)
        share = reduce(Parts(ones, found.count, found.is_global), "mean") / ones.numel()
    return LossCall(name, outputs, result, lambda z: parts(z).values, share)
