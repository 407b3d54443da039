"""Whether the trace of the Hessian is exactly that of the Gauss-Newton matrix."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from lightning_losses.curvature.estimate import Parameters
from lightning_losses.curvature.graph import Node, is_leaf, node_of, operands

PIECEWISE_LINEAR = re.compile(
    "(Abs|Adaptive(Avg|Max)Pool[123]D|Add|Alias|Amax|Amin|Aminmax|AsStrided|AvgPool[123]D|Cat|Clamp|ClampM(in|ax)|"
    "Clone|Col2Im|ConstantPadNd|Contiguous|Copy|Cumsum|Diagonal|Expand|Flatten|Flip|Gather|Hardtanh|"
    "Im2Col|Index|IndexSelect|LeakyRelu|LiftFresh|MaskedFill|MaskedSelect|Max|Max_?Pool[23]D\\w*|Maximum|Mean|Median|"
    "Min|Minimum|Movedim|Narrow|Neg|Permute|PixelShuffle|PixelUnshuffle|Re(flection|plication)Pad[123]D|Relu|Repeat|"
    "Reshape|ReshapeAlias|Roll|Rsub|Select|Slice|Split|SplitWithSizes|Squeeze|Stack|Sub|Sum|T|ToCopy|Transpose|Triu|"
    "Tril|Unbind|Unfold|UnsafeSplit|UnsafeView|Unsqueeze|Upsample(Nearest(Exact)?|Linear|Bilinear|Trilinear|Bicubic)"
    "[123]D|View|Where|Threshold)Backward\\d+|_GatheredBackward|"
    "RegisterPostBackwardFunctionBackward"  # FSDP2 passes a layer's inputs through it
)
"""Nodes that are piecewise linear in all their differentiable operands together."""

BILINEAR = re.compile(
    "(Addbmm|Addmm|Addmv|Addr|Baddbmm|Bmm|Convolution|Dot|Linear|MkldnnConvolution|Mm|Mul|Mv|NativeBatchNorm|"
    "CudnnBatchNorm|PreluKernel|CudnnConvolution|Embedding|Div)Backward\\d+"
)
"""Nodes that are (piecewise) linear in each operand alone, others fixed."""


class Certificate(NamedTuple):
    """Whether Tr(H) = Tr(GGN), and why not.

    Args:
        holds: whether it was shown to hold.
        reasons: what stands in the way, in words; empty where it holds.
    """

    holds: bool
    reasons: tuple[str, ...]


def certify(outputs: Iterable[Tensor], parameters: Parameters) -> Certificate:
    r"""Whether every single weight enters the outputs piecewise linearly, read off the autograd graph.

    The Hessian of :math:`L(z(\theta))` is :math:`J^\top H_L J + \sum_k \partial_k L \, \nabla^2 z_k`. Where no output
    z_k is curved in any single weight, the diagonal of each :math:`\nabla^2 z_k` is 0 almost everywhere, and the traces
    of Hessian and Gauss-Newton matrix are equal, whatever the loss. Individual weights enter piecewise linearly through
    ReLU, pooling, residual sums and normalisation with fixed statistics, and through products with weights whose other
    factor does not depend on the same weights. So a product (convolution, linear layer, elementwise) passes if the sets
    of parameters behind its factors are disjoint; sharing weights in parallel branches is fine, in series it is not.
    What is not known to pass does not. Nothing follows for eigenvalues, nor for the loss at a finite distance, where
    kinks carry curvature that derivatives do not see.

    Args:
        outputs: the network's outputs, with their graph.
        parameters: the leaves that were used, by name.

    >>> import torch
    >>> x, w = torch.ones(2, 3), {"w": torch.ones(1, 3, requires_grad=True)}
    >>> certify([torch.relu(x @ w["w"].T)], w)
    Certificate(holds=True, reasons=())
    >>> certify([torch.tanh(x @ w["w"].T)], w)
    Certificate(holds=False, reasons=('TanhBackward0 of w is not piecewise linear',))
    """
    names = {id(leaf): name for name, leaf in parameters.items()}
    behind: dict[Node, frozenset[str]] = {}
    reasons: list[str] = []
    for output in outputs:
        for node in _in_order(node_of(output)):
            if node in behind:
                continue
            if is_leaf(node):
                behind[node] = frozenset({names[id(node.variable)]} if id(node.variable) in names else ())
                continue
            sets = [behind[operand] for operand in operands(node)]
            behind[node] = frozenset().union(*sets)
            reason = _reason(node, sets)
            if reason is not None and behind[node]:
                reasons.append(reason)
    return Certificate(not reasons, tuple(dict.fromkeys(reasons)))


def _reason(node: Node, sets: list[frozenset[str]]) -> str | None:
    """Why a node cannot be passed; None if it can."""
    name = node.name()
    where = _some(frozenset().union(*sets))
    if PIECEWISE_LINEAR.fullmatch(name):
        return None
    if not BILINEAR.fullmatch(name):
        return f"{name} of {where} is not piecewise linear"
    if "BatchNorm" in name and getattr(node, "_saved_training", True):
        return f"{name} of {where} normalises by the batch's own statistics"
    if name.startswith("Div") and node.next_functions[1][0] is not None:
        return f"{name} of {where} divides by what depends on parameters"
    shared = frozenset(a for i, one in enumerate(sets) for other in sets[i + 1 :] for a in one & other)
    factors = shared if not name.startswith("Add") else _shared_factors(node, sets)
    return f"{name} multiplies what depends on {_some(factors)} by what depends on it too" if factors else None


def _shared_factors(node: Node, sets: list[frozenset[str]]) -> frozenset[str]:
    """Of addmm and its like the first operand is only added; the factors are the last two."""
    present = [operand is not None for operand, _ in node.next_functions]
    factors = sets[1:] if present[0] else sets
    return factors[0] & factors[1] if len(factors) == 2 else frozenset()


def _some(names: frozenset[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:2]) + (f" and {len(ordered) - 2} more" if len(ordered) > 2 else "")


def _in_order(root: Node) -> list[Node]:
    """The nodes below a root, operands before what is computed from them."""
    done: dict[Node, None] = {}
    waiting = [] if root is None else [(root, False)]
    seen = set[Node]()
    while waiting:
        node, ready = waiting.pop()
        if ready:
            done[node] = None
        elif node not in seen:
            seen.add(node)
            waiting.append((node, True))
            waiting.extend((operand, False) for operand in operands(node) if operand not in seen)
    return list(done)
