"""The gradient noise scale: which batch size the gradients of a training ask for."""

from dataclasses import dataclass


@dataclass
class NoiseScale:
    r"""The simple noise scale from gradient norms at two batch sizes (McCandlish et al. 2018, arXiv:1812.06162).

    With b samples in the small batch and B in the large one,

    .. math::
        \hat G^2 = \frac{B \lVert g_B \rVert^2 - b \lVert g_b \rVert^2}{B - b}, \qquad
        \hat S = \frac{\lVert g_b \rVert^2 - \lVert g_B \rVert^2}{1/b - 1/B}, \qquad
        \mathcal B = \frac{\overline{\hat S}}{\overline{\hat G^2}}

    are unbiased estimates of the squared norm of the true gradient and of the trace of the covariance of one sample's.
    Each is averaged by itself, because the mean of their ratios is no estimate of the ratio of their means.

    Args:
        decay: of the running means; with 0.95 they remember some 20 measurements.
        trace: running mean of S, not corrected for its start, which the ratio cancels.
        square: running mean of G².
        count: how many measurements were taken in.

    >>> noise = NoiseScale()
    >>> noise.add(small=1.0 + 10.0 / 4, large=1.0 + 10.0 / 16, small_batch=4, large_batch=16)
    >>> round(noise.value, 6)
    10.0
    """

    decay: float = 0.95
    trace: float = 0.0
    square: float = 0.0
    count: int = 0

    def add(self, small: float, large: float, small_batch: float, large_batch: float) -> None:
        """Take in one measurement.

        Args:
            small: squared norm of the gradient of the small batch.
            large: squared norm of the gradient of the large batch.
            small_batch: b, samples in the small batch.
            large_batch: B > b, samples in the large batch.
        """
        trace = (small - large) / (1 / small_batch - 1 / large_batch)
        square = (large_batch * large - small_batch * small) / (large_batch - small_batch)
        self.trace += (1 - self.decay) * (trace - self.trace)
        self.square += (1 - self.decay) * (square - self.square)
        self.count += 1

    @property
    def value(self) -> float | None:
        """The noise scale in samples; None while noise hides the gradient altogether, or nothing was measured."""
        return self.trace / self.square if self.square > 0 and self.trace >= 0 else None
