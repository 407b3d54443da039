"""Targets that relate samples to each other."""

from typing import Any

from lightning_losses.advise import evidence, inputs, rules
from lightning_losses.advise.evidence.rankings import Rankings
from lightning_losses.advise.findings import Evidence
from lightning_losses.advise.proposal import Proposal
from lightning_losses.checks import message


def ranking(targets: Any, ignore_index: int | None = None) -> tuple[Rankings, Proposal]:
    """The relevance of each query's items [n]."""
    lists = [inputs.array("targets", items).ravel() for items in inputs.sequence("targets", targets)]
    kept = [items[items != ignore_index] if ignore_index is not None else items for items in lists]
    if not any(map(len, kept)):
        raise ValueError(message("targets", "items that are not all ignored", f"{ignore_index} everywhere"))
    seen = evidence.rankings.look([items for items in kept if len(items)])
    return seen, rules.relations.ranking(seen)


def metric(targets: Any) -> tuple[Evidence, Proposal]:
    """Labels [N] of identities."""
    seen = evidence.identities.look(inputs.labels("targets", targets))
    return seen, rules.relations.metric_learning(seen)
