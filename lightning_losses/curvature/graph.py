"""Reading the autograd graph."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

Node = Any
"""An autograd node; torch has no type for it that says what its kind has saved."""


def node_of(tensor: Tensor) -> Node:
    """The node that made a tensor, None where it was not computed from anything that needs a gradient."""
    return tensor.grad_fn


def operands(node: Node) -> list[Node]:
    """The nodes of a node's differentiable operands; those that need no gradient are absent."""
    return [operand for operand, _ in node.next_functions if operand is not None]


def is_leaf(node: Node) -> bool:
    """Whether the node stands for a leaf tensor, its `variable`."""
    return bool(node.name() == "torch::autograd::AccumulateGrad")


def nodes_below(roots: Iterable[Node]) -> Iterator[Node]:
    """All nodes from which the roots were computed, the roots included, each once."""
    waiting, seen = [root for root in roots if root is not None], set[Node]()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting.extend(operands(node))


def consumers(tensors: Iterable[Tensor]) -> Counter[int]:
    """How many operations use each leaf in what the tensors were computed by: counts by `id` of the leaf.

    >>> import torch
    >>> w = torch.ones((), requires_grad=True)
    >>> consumers([w * w + w])[id(w)]
    3
    """
    nodes = nodes_below(node_of(tensor) for tensor in tensors)
    return Counter(id(operand.variable) for node in nodes for operand in operands(node) if is_leaf(operand))
