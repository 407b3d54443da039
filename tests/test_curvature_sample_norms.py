"""Every sample's squared gradient norm is what a batch of one gives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_losses.curvature.sample_norms import has_sample_norms, sample_norms

ROWS = 3


def images(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(ROWS, *shape, dtype=torch.float64)


def ids(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(4, (ROWS, *shape))


LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "linear": (lambda: nn.Linear(4, 5), images(4)),
    "linear without bias": (lambda: nn.Linear(4, 5, bias=False), images(4)),
    "linear, short sequence": (lambda: nn.Linear(40, 50), images(2, 40)),
    "linear, long sequence": (lambda: nn.Linear(4, 5), images(30, 4)),
    "linear, two axes of places": (lambda: nn.Linear(4, 5), images(3, 2, 4)),
    "conv": (lambda: nn.Conv2d(2, 3, 3), images(2, 7, 6)),
    "conv, few places": (lambda: nn.Conv2d(20, 30, 3), images(20, 4, 4)),
    "conv, stride and padding": (lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 2)), images(2, 7, 6)),
    "conv, few places and gaps": (lambda: nn.Conv2d(20, 30, 3, 2, 2, dilation=2), images(20, 7, 6)),
    "conv, dilation": (lambda: nn.Conv2d(2, 3, 3, dilation=2, bias=False), images(2, 9, 8)),
    "conv, groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), images(4, 5, 5)),
    "conv, depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), images(4, 5, 5)),
    "conv, same": (lambda: nn.Conv2d(2, 3, 3, padding="same"), images(2, 5, 5)),
    "conv, reflect": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), images(2, 5, 5)),
    "conv, 1x1 with stride": (lambda: nn.Conv2d(2, 3, 1, stride=2, padding=1), images(2, 5, 6)),
    "conv 1d": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), images(2, 9)),
    "conv 1d, circular": (lambda: nn.Conv1d(2, 3, 3, padding=2, padding_mode="circular"), images(2, 9)),
    "conv 3d": (lambda: nn.Conv3d(2, 3, (3, 2, 1), stride=(1, 2, 3), padding=1), images(2, 5, 6, 7)),
    "conv 3d, many places": (lambda: nn.Conv3d(2, 3, 3, padding=1), images(2, 5, 4, 6)),
    "conv 3d, few places": (lambda: nn.Conv3d(20, 30, 2, padding=1, groups=2), images(20, 3, 2, 2)),
    "batch norm": (lambda: nn.BatchNorm2d(3), images(3, 4, 4)),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(3), images(3)),
    "group norm": (lambda: nn.GroupNorm(2, 4), images(4, 3, 3)),
    "layer norm": (lambda: nn.LayerNorm(4), images(5, 4)),
    "layer norm over two axes": (lambda: nn.LayerNorm((5, 4)), images(5, 4)),
    "layer norm of vectors": (lambda: nn.LayerNorm(4), images(4)),
    "rms norm": (lambda: nn.RMSNorm(4), images(5, 4)),
    "embedding": (lambda: nn.Embedding(4, 3), ids(6)),
    "embedding of one": (lambda: nn.Embedding(4, 3), ids()),
    "embedding with padding": (lambda: nn.Embedding(4, 3, padding_idx=1), ids(6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_norm_of_a_batch_of_one(name: str) -> None:
    torch.manual_seed(0)
    make_layer, make_input = LAYERS[name]
    layer, x = make_layer().double().eval(), make_input()
    for buffer in layer.buffers():
        buffer.copy_(torch.rand_like(buffer)) if buffer.is_floating_point() else None
    out = layer(x)
    gradient = torch.randn_like(out)
    found = sample_norms(layer, x, gradient)
    assert has_sample_norms(layer)
    assert list(found) == [n for n, _ in layer.named_parameters()]
    for row in range(ROWS):
        alone = torch.autograd.grad(layer(x[row : row + 1]), list(layer.parameters()), gradient[row : row + 1])
        for values, exact in zip(found.values(), alone, strict=True):
            torch.testing.assert_close(values[row], exact.square().sum(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(3),
        nn.LSTM(2, 2),
        nn.Embedding(4, 3, max_norm=1.0),
        nn.Bilinear(2, 2, 2),
        nn.ConvTranspose2d(2, 2, 2),
        nn.utils.spectral_norm(nn.Linear(2, 2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_without_a_formula_are_known(layer: nn.Module) -> None:
    """BatchNorm in training mode too: there a row's output depends on the others."""
    assert not has_sample_norms(layer)
