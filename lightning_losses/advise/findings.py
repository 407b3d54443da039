"""What is seen in data, before anything is made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


def number(value: float) -> str:
    """Three digits that count, without an exponent up to a million.

    >>> number(0.01234), number(1234.5), number(2.5e7)
    ('0.0123', '1234', '2.5e+07')
    """
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


@dataclass(frozen=True)
class Finding:
    """A number of the data beside the threshold from which on a loss should mind it.

    Args:
        name: a few words.
        value: the estimate.
        bound: the end of its 99 % confidence interval that lies on the threshold's side.
        threshold: where it begins to matter.
        source: why there.
        below: it matters below the threshold, not above.
    """

    name: str
    value: float
    bound: float
    threshold: float
    source: str
    below: bool = False

    @property
    def holds(self) -> bool:
        """Whether the number is beyond the threshold by more than its sampling error."""
        return self.bound < self.threshold if self.below else self.bound > self.threshold

    def __str__(self) -> str:
        limit = "at most" if self.below else "at least"
        value, bound, threshold = map(number, (self.value, self.bound, self.threshold))
        return f"{self.name} {value} ({limit} {bound} at 99 %; threshold {threshold})"


@dataclass(frozen=True)
class Evidence:
    """Facts and findings about one kind of target.

    Args:
        facts: descriptions, by name, in the order in which they are to be read.
        findings: by the name under which rules ask for them.
        notes: what the data cannot tell, or what is wrong with them.
    """

    facts: Mapping[str, str]
    findings: Mapping[str, Finding]
    notes: Sequence[str] = field(default=(), kw_only=True)

    def shows(self, name: str) -> bool:
        """Whether the finding of that name was made and holds."""
        return name in self.findings and self.findings[name].holds
