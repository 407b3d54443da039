"""What a composed loss was made of in its last call."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.term import Term


@dataclass(frozen=True)
class Report:
    """The parts of the last call of a `LossModule`: detached 0-d tensors, by name of the term.

    Making them costs no device sync; reading a number out of one does. Terms that were absent from the batch are
    absent here.

    Args:
        total: the value that was returned.
        raw: each term's loss.
        weights: the weight that each was multiplied by.
        terms: the terms, which know their bounds.
    """

    total: Tensor
    raw: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    terms: Mapping[str, Term]

    @property
    def bounds(self) -> dict[str, Bounds]:
        """Each term's range, with its reference as far as the data has told it by now."""
        return {name: self.terms[name].bounds() for name in self.raw}

    @property
    def weighted(self) -> dict[str, Tensor]:
        """Weight times raw: what each term adds to the total."""
        return {name: self.weights[name] * value for name, value in self.raw.items()}

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
