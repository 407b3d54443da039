"""Inner products of the gradients of several losses, at one place or layer group by layer group."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations

import torch
from torch import Tensor, nn

from lightning_losses.balancers.branches import Branches
from lightning_losses.balancers.place import Shared
from lightning_losses.balancers.probe import HALF_PRECISION_SCALE, SCALER_MARGIN
from lightning_losses.callbacks.listening import full_name
from lightning_losses.numerics import at_least_float32, safe_divide, widest


def gram(losses: Sequence[Tensor | None], places: Sequence[Sequence[Tensor]], scale: Tensor | float) -> Tensor:
    r"""The Gram matrix of the losses' gradients, :math:`G_{ij} = \sum_t \langle \nabla_t L_i, \nabla_t L_j \rangle`.

    The graph is kept, `.grad` is not touched, and hooks on the losses and on the tensors see nothing. All K gradients
    are held at once.

    Args:
        losses: the K losses, 0-d; None for one that is absent, which has no gradient.
        places: for each loss the tensors :math:`t` at which it is differentiated, as many and of the same shapes for
            all. It has no gradient at those that it does not reach.
        scale: a power of two that keeps gradients in the range of float16 on their way; it is divided out.

    Returns:
        [K, K], in the widest floating type; infinite or NaN in the row of a loss whose gradient is.

    >>> import torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> gram([x.sum(), x.square().sum()], [[x], [x]], scale=1.0)
    tensor([[ 2.,  6.],
            [ 6., 20.]], dtype=torch.float64)
    """
    with _unheard([*(loss for loss in losses if loss is not None), *(t for place in places for t in place)]):
        gradients = [_gradients(*pair, scale) for pair in zip(losses, places, strict=True)]
    total = widest(torch.zeros(len(losses), len(losses), device=places[0][0].device))
    with torch.autocast(total.device.type, enabled=False):
        for of_tensor in zip(*gradients, strict=True):
            some = next((g for g in of_tensor if g is not None), None)
            if some is not None:
                rows = torch.stack([torch.zeros_like(some) if g is None else g for g in of_tensor]).flatten(1)
                total += _products(rows).to(total)
    return total


def cosines(products: Tensor) -> Tensor:
    r""":math:`G_{ij} / \sqrt{G_{ii} G_{jj}}`, [K, K]; NaN where a gradient is 0 or not finite.

    >>> import torch
    >>> cosines(torch.tensor([[4.0, -3.0, 0.0], [-3.0, 9.0, 0.0], [0.0, 0.0, 0.0]]))
    tensor([[ 1.0000, -0.5000,     nan],
            [-0.5000,  1.0000,     nan],
            [    nan,     nan,     nan]])
    """
    norms = products.diagonal().sqrt()
    defined = (norms > 0) & norms.isfinite()
    found = safe_divide(products, norms.outer(norms))
    return found.masked_fill(~defined.outer(defined), torch.nan)


def norm_figures(products: Tensor, path: str, names: Sequence[str]) -> dict[str, Tensor]:
    """The norms out of a Gram matrix [K, K], by the name of what is logged; `path` is that of the LossModule."""
    norms = products.diagonal().sqrt()
    return {f"term_norm/{full_name(path, name)}": norm for name, norm in zip(names, norms, strict=True)}


def cosine_figures(products: Tensor, path: str, names: Sequence[str]) -> dict[str, Tensor]:
    """The cosines of all pairs that have one."""
    angles = cosines(products)
    pairs = {f"{a}-{b}": angles[i, j] for (i, a), (j, b) in combinations(enumerate(names), 2)}
    return {f"cosine/{full_name(path, pair)}": angle for pair, angle in pairs.items() if not angle.isnan()}


def place_of(shared: Shared | None, names: Iterable[str]) -> list[list[Tensor]]:
    """For each term the tensors that `shared` of a LossModule's call stands for: its branch, or the same for all."""
    if shared is None:
        return [[] for _ in names]
    if isinstance(shared, Branches):
        return [[shared[name]] for name in names]
    tensors: Iterable[Tensor] = shared.parameters() if isinstance(shared, nn.Module) else shared
    place = [t for t in ([tensors] if isinstance(tensors, Tensor) else tensors) if t.requires_grad]
    return [place for _ in names]


def are_parameters(place: Sequence[Tensor]) -> bool:
    """Whether gradients add over the samples of a batch there; at features, every sample has coordinates of its own."""
    return any(isinstance(tensor, nn.Parameter) for tensor in place)


def range_scale(loss_scale: Tensor | float, place: Sequence[Tensor]) -> Tensor | float:
    """What `gram` should multiply losses by.

    Args:
        loss_scale: the GradScaler's scale as a tensor, or 1.
        place: where gradients are taken.
    """
    if isinstance(loss_scale, Tensor):
        return loss_scale * SCALER_MARGIN
    return HALF_PRECISION_SCALE if any(t.dtype == torch.float16 for t in place) else 1.0


def _gradients(loss: Tensor | None, place: Sequence[Tensor], scale: Tensor | float) -> Sequence[Tensor | None]:
    if loss is None or not loss.requires_grad:
        return [None] * len(place)
    found = torch.autograd.grad(loss * scale, place, retain_graph=True, allow_unused=True)
    return [None if g is None else at_least_float32(g) / scale for g in found]


def _products(rows: Tensor) -> Tensor:
    """Row by row times matrix, so that an infinity in one row leaves the products of the others alone."""
    return torch.stack([rows @ row for row in rows])


@contextmanager
def _unheard(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Hooks on the tensors, as wandb.watch and balancers register them, are to see the training's gradients alone."""
    hooks = [t._backward_hooks for t in tensors if t._backward_hooks]
    kept = [dict(its) for its in hooks]
    for its in hooks:
        its.clear()
    try:
        yield
    finally:
        for its, entries in zip(hooks, kept, strict=True):
            its.update(entries)
