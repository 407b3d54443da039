"""The quadratic form of the Gauss-Newton matrix by forward mode, without a graph of the network.

Of the Hessian there is none by forward mode: twice forward, torch is silently wrong for LayerNorm, InstanceNorm and
BatchNorm with the batch's statistics (it takes those for constants), and forward over reverse costs a product.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp

from lightning_losses.curvature.directions import dot
from lightning_losses.curvature.estimate import Direction, Parameters
from lightning_losses.curvature.products import Outputs, hessian_product


def gauss_newton_form(
    outputs: Outputs, loss: Callable[[Tensor], Tensor], parameters: Parameters, direction: Direction
) -> Tensor:
    r"""The quadratic form of the generalised Gauss-Newton matrix (Schraudolph 2002).

    .. math::
        v^\top G v = (Jv)^\top H_L\, (Jv)

    with J the Jacobian of the outputs with respect to the parameters and :math:`H_L` the Hessian of the loss with
    respect to the outputs. One forward pass with tangents; only the loss, a function of the outputs, is differentiated
    backward. On a ResNet-18 it costs as much as one gradient, a product of G twice as much.

    Args:
        outputs: the network's outputs on one fixed batch as a function of the parameters.
        loss: the loss as a function of the outputs, 0-d.
        parameters: where the matrix is taken.
        direction: the vector v, of the same names, shapes and dtypes.

    Returns:
        0-d, float64.

    Raises:
        NotImplementedError: an operation has no forward-mode derivative (LSTM, cdist, flash attention).

    >>> features = torch.tensor([[1.0], [2.0]])
    >>> gauss_newton_form(
    ...     lambda p: features @ p["w"], lambda z: 0.5 * z.square().sum(), {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    ... )
    tensor(5., dtype=torch.float64)
    """
    with torch.no_grad():
        predicted, pushed = jvp(outputs, (dict(parameters),), ({name: direction[name] for name in parameters},))[:2]
    vector = {"outputs": pushed}
    return dot(vector, hessian_product(lambda p: loss(p["outputs"]), {"outputs": predicted}, vector))
