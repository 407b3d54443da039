"""What a composed loss was made of in its last call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.term import Term


@dataclass(frozen=True)
class Part:
    """What one group of terms added to the total.

    Args:
        names: its terms in this batch, in order.
        losses: their values, [T], detached.
        weights: what each was multiplied by, [T], detached.
    """

    names: Sequence[str]
    losses: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Report:
    """The parts of the last call of a `LossModule`: detached 0-d tensors, by name of the term.

    Making them costs no device sync; reading a number out of one does. Terms that were absent from the batch are
    absent here.

    Args:
        total: the value that was returned, detached.
        parts: the values and weights of each group of terms.
        terms: all terms, which know their bounds.
    """

    total: Tensor
    parts: Sequence[Part]
    terms: Mapping[str, Term]

    @cached_property
    def raw(self) -> dict[str, Tensor]:
        """Each term's loss."""
        return self._by_name({n: v for part in self.parts for n, v in zip(part.names, part.losses, strict=True)})

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """What each term's loss was multiplied by."""
        return self._by_name({n: w for part in self.parts for n, w in zip(part.names, part.weights, strict=True)})

    @property
    def weighted(self) -> dict[str, Tensor]:
        """Weight times raw: what each term adds to the total."""
        return {name: self.weights[name] * value for name, value in self.raw.items()}

    @property
    def bounds(self) -> dict[str, Bounds]:
        """Each term's range, with its reference as far as the data has told it by now."""
        return {name: self.terms[name].bounds() for name in self.raw}

    @property
    def normalized(self) -> dict[str, Tensor]:
        """(raw - lower) / (reference - lower), of the terms that have a reference: 0 is perfect, 1 knows nothing."""
        values = {name: self.terms[name].bounds().normalize(value) for name, value in self.raw.items()}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def metrics(self, prefix: str = "") -> dict[str, Tensor]:
        """Everything under flat names, for `self.log_dict`: ``<prefix>loss``, ``<prefix>raw/<term>``, and so on."""
        parts = {"raw": self.raw, "weight": self.weights, "weighted": self.weighted, "normalized": self.normalized}
        flat = {f"{prefix}{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        return {f"{prefix}loss": self.total, **flat}

    def _by_name(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: values[name] for name in self.terms if name in values}
