"""Which loss fits a task and its data: evidence from targets, and a proposal with reasons."""

from lightning_losses.advise.advice import Advice
from lightning_losses.advise.advising import advise
from lightning_losses.advise.findings import Evidence, Finding
from lightning_losses.advise.proposal import Proposal
from lightning_losses.advise.tasks import TASKS

__all__ = ["TASKS", "Advice", "Evidence", "Finding", "Proposal", "advise"]
