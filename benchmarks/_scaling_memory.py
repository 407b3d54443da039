"""What monitors hold beside a training: measured at small sizes, as the coefficients of formulas for large ones."""

from collections.abc import Callable

import torch
from _memory import peak_bytes
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

from lightning_losses.callbacks.eigenvalue_probe import STEPS
from lightning_losses.callbacks.step_norms import StepNorms
from lightning_losses.curvature.critical import critical_sharpness
from lightning_losses.curvature.directions import normal_like
from lightning_losses.curvature.ggn_trace import GaussNewtonTrace
from lightning_losses.curvature.lanczos import largest_eigenvalue
from lightning_losses.curvature.products import HessianOperator

FLOAT = 4
HEADS, VOCABULARY = 4, 8
NARROW, WIDE = 256, 512
SAMPLES, TOKENS, WIDTH, SHALLOW, DEEP = 4, 64, 128, 2, 6

Parameters = dict[str, Tensor]


class Block(nn.Module):
    """A block of a transformer of width d, with 4d in its middle."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, S, d]."""
        parts = self.queries(self.before(x)).unflatten(-1, (3, HEADS, -1)).movedim(2, 0).transpose(2, 3)
        attended = scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.project(attended.transpose(1, 2).flatten(2))
        return x + self.narrow(gelu(self.widen(self.after(x))))


def coefficients() -> dict[str, float]:
    """Numbers in float32 for each parameter, and for the trace for each token, block and unit of its width."""
    of_blocks = _trace_peak(DEEP) - _trace_peak(SHALLOW)
    return {
        "GradientNormMonitor": _for_each_parameter(_norms),
        "critical": _for_each_parameter(_critical),
        "lambda_max": _for_each_parameter(_eigenvalue),
        "trace": of_blocks / (FLOAT * SAMPLES * TOKENS * WIDTH * (DEEP - SHALLOW)),
    }


def _for_each_parameter(work: Callable[[int], Callable[[], object]]) -> float:
    """From the difference of two sizes, in which what does not grow is lost."""
    more = peak_bytes(work(WIDE)) - peak_bytes(work(NARROW))
    return more / FLOAT / (WIDE * (WIDE + 1) - NARROW * (NARROW + 1))


def _linear(width: int) -> tuple[nn.Linear, Callable[[Parameters], Tensor]]:
    network, x = nn.Linear(width, width), torch.randn(2, width)
    return network, lambda p: functional_call(network, p, x).square().mean()


def _detached(network: nn.Module) -> Parameters:
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def _norms(width: int) -> Callable[[], object]:
    network, loss = _linear(width)
    loss(dict(network.named_parameters())).backward()

    def work() -> None:
        step = StepNorms({"all": list(network.parameters())}, scale=1.0, keep_weights=True)
        step.look_again(clipped=False, small=None)

    return work


def _critical(width: int) -> Callable[[], object]:
    network, loss = _linear(width)

    def work() -> None:
        leaves = {name: p.requires_grad_() for name, p in _detached(network).items()}
        slopes = torch.autograd.grad(loss(leaves), list(leaves.values()))
        step = {name: 0.1 * slope for name, slope in zip(leaves, slopes, strict=True)}
        critical_sharpness(loss, _detached(network), step)

    return work


def _eigenvalue(width: int) -> Callable[[], object]:
    network, loss = _linear(width)
    parameters = _detached(network)
    start = normal_like(parameters, torch.Generator().manual_seed(0))
    return lambda: largest_eigenvalue(HessianOperator(loss, parameters).product, start, STEPS)


def _trace_peak(blocks: int) -> int:
    """Bytes of one look at the trace of a transformer."""
    torch.manual_seed(0)
    network = nn.Sequential(*(Block(WIDTH) for _ in range(blocks)), nn.Linear(WIDTH, VOCABULARY))
    x, y = torch.randn(SAMPLES, TOKENS, WIDTH), torch.randint(VOCABULARY, (SAMPLES * TOKENS,))
    tracer = GaussNewtonTrace(network)

    def loss(p: Parameters) -> Tensor:
        return cross_entropy(functional_call(network, p, x).flatten(0, 1), y)

    tracer.plan(loss, _detached(network))
    return peak_bytes(lambda: tracer.estimate(loss, _detached(network)))
