"""Settings of the optimizer that a loss was measured to be sensitive to; of what was not measured, nothing is said."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """What to mind, and the experiment that says so.

    Args:
        text: one sentence for the user.
        experiment: a script in benchmarks/; its results lie in benchmarks/results.
        claim: the key under "claims" in the results, which is true there.
    """

    text: str
    experiment: str
    claim: str

    def __str__(self) -> str:
        return f"{self.text} (benchmarks/{self.experiment}.py)"


NOTES = {
    "MAE": Note(
        "MAE pulls with the same force however small a residual is: where targets have little noise, a constant step "
        "size leaves an error proportional to it, with SGD and Adam alike. Let the learning rate fall to 0.",
        "sensitivity",
        "MAE: without noise a constant step leaves an error proportional to it",
    ),
}
