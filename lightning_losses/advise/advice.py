"""Evidence, proposal and notes together, and how they are printed."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_losses.advise.findings import Evidence, Finding, number
from lightning_losses.advise.proposal import Proposal
from lightning_losses.advise.sensitivity import NOTES

if TYPE_CHECKING:
    from lightning_losses.module import LossModule

COLUMNS = (("value", 8), ("99 % bound", 12), ("threshold", 11), ("holds", 7))


@dataclass(frozen=True)
class Advice:
    """A proposed loss with the evidence for it; `print` it, build it with `loss_module()`, keep it with `yaml()`.

    Args:
        task: what the targets are for.
        evidence: what was seen.
        proposal: what it speaks for.
    """

    task: str
    evidence: Evidence
    proposal: Proposal

    @property
    def config(self) -> dict[str, Any]:
        """What `LossModule.from_config` takes, and a recipe's configuration at `model.criterion`."""
        return self.proposal.config

    @property
    def settings(self) -> list[str]:
        """Settings of the optimizer that the proposed losses were measured to be sensitive to."""
        return [str(NOTES[name]) for name in dict.fromkeys(self.proposal.losses) if name in NOTES]

    def yaml(self) -> str:
        """The proposal as a YAML file, its reasons as comments."""
        return self.proposal.yaml()

    def loss_module(self) -> "LossModule":
        """The proposal, built."""
        from lightning_losses.module import LossModule

        return LossModule.from_config(self.config)

    def text(self, width: int = 80) -> str:
        """The report, in lines of at most `width` characters, the YAML's excepted."""
        return "\n".join(_lines(self, max(width, 60)))

    def __str__(self) -> str:
        return self.text()


def _lines(advice: Advice, width: int) -> Iterator[str]:
    evidence, proposal = advice.evidence, advice.proposal
    yield f"{advice.task.upper()}: {' + '.join(dict.fromkeys(proposal.losses))}"
    if not proposal.reasons:
        yield from _wrap(f"No evidence for anything but {proposal.plain}.", width)
    yield from _list("Seen", [], width)
    room = max((len(name) for name in evidence.facts), default=0) + 2
    for name, fact in evidence.facts.items():
        yield from _wrap(f"{name:<{room}}{fact}", width, 2, room)
    if evidence.findings:
        yield ""
        yield from _table(list(evidence.findings.values()), width)
    yield from _list("Why", proposal.reasons, width)
    yield from _list("Mind", [*proposal.cautions, *evidence.notes], width)
    yield from _list("Or", proposal.alternatives, width)
    yield from _list("Settings this loss is sensitive to", advice.settings, width)
    yield from _list("As YAML, for LossModule.from_config or a recipe's model.criterion", [], width)
    yield textwrap.indent(Proposal(proposal.terms, proposal.plain).yaml(), "  ").rstrip()
    yield ""
    yield from _wrap(f"Called as {proposal.call}.", width)


def _list(title: str, items: Sequence[str], width: int) -> Iterator[str]:
    """A title, and each item behind a dash; nothing if an optional list is empty."""
    if items or title.startswith(("Seen", "As YAML")):
        yield ""
        yield title
    for item in items:
        yield from _wrap(f"- {item}", width, 2, 2)


def _table(findings: Sequence[Finding], width: int) -> Iterator[str]:
    """A finding a row, its source on the lines below."""
    room = width - sum(size for _, size in COLUMNS)
    yield "Evidence".ljust(room) + "".join(name.rjust(size) for name, size in COLUMNS)
    for finding in findings:
        cells = (
            number(finding.value),
            f"{'<=' if finding.below else '>='} {number(finding.bound)}",
            f"{'<' if finding.below else '>'} {number(finding.threshold)}",
            "yes" if finding.holds else "no",
        )
        first, *rest = textwrap.wrap(finding.name, room - 4)
        yield f"  {first}".ljust(room) + "".join(
            cell.rjust(size) for cell, (_, size) in zip(cells, COLUMNS, strict=True)
        )
        yield from (f"  {line}" for line in rest)
        yield from _wrap(finding.source, width, 6)


def _wrap(text: str, width: int, indent: int = 0, hang: int = 0) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang),
        break_long_words=False,
        break_on_hyphens=False,
    )
