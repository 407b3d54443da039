"""The cells of the matrix, and which of them are refused."""

import itertools
from dataclasses import dataclass, replace

BALANCERS = {
    "fixed": "Fixed, with a schedule",
    "gradnorm-features": "GradNorm, `shared=features`",
    "gradnorm-branches": "GradNorm, `criterion.branch(features)`",
    "gradnorm-parameters": "GradNorm, `shared='neck'` (parameters)",
    "gradnorm-global": "GradNorm, losses of the whole batch (Dice, masked mean)",
    "uncertainty": "Uncertainty",
    "dwa": "DynamicWeightAverage",
    "upgrad": "Gramian(UPGradWeighting())",
    "upgrad-lagged": "Gramian(UPGradWeighting(), lagged=True)",
    "imtlg": "Gramian(IMTLGWeighting())",
    "imtlg-lagged": "Gramian(IMTLGWeighting(), lagged=True)",
}
STRATEGIES = {
    "single": "one process",
    "ddp": "DDP",
    "ddp-unused": "DDP, find unused",
    "fsdp2": "FSDP2 (ModelParallelStrategy)",
    "ddp-static": "DDP, static graph",
}
PRECISIONS = ("32", "64-true", "bf16-mixed", "16-mixed")
# whole: torch.compile of the LightningModule; resumed: stopped half-way, and gone on from a checkpoint
MODES = ("eager", "compiled", "inductor", "whole", "manual", "resumed")
ACCUMULATE = (1, 4)

MEASURES = ("gradnorm", "upgrad", "imtlg")
AT_ONCE = ("upgrad", "imtlg")


@dataclass(frozen=True)
class Cell:
    """One way to train."""

    balancer: str
    strategy: str = "single"
    precision: str = "32"
    accumulate: int = 1
    mode: str = "eager"

    @property
    def ranks(self) -> int:
        return 1 if self.strategy == "single" else 2

    @property
    def id(self) -> str:
        return f"{self.balancer}, {self.strategy}, {self.precision}, accumulate {self.accumulate}, {self.mode}"

    @property
    def reference(self) -> "Cell":
        """One process, the whole batch at once, eager, in full precision."""
        return Cell(self.balancer, precision="64-true" if self.precision == "64-true" else "32")

    @property
    def uninterrupted(self) -> "Cell":
        """The same, in one go."""
        return replace(self, mode="eager")

    @property
    def measures(self) -> bool:
        return self.balancer.startswith(MEASURES)

    @property
    def refusal(self) -> str | None:
        """What the error must name, where the cell cannot work."""
        if self.balancer in AT_ONCE and self.accumulate > 1:
            return "accumulate(_grad_batches)?=4.*lagged=True"
        if self.measures and self.strategy == "ddp-static":
            return "static_graph=True.*leave static_graph out"
        if self.balancer == "gradnorm-parameters" and self.strategy == "fsdp2":
            return "ModelParallelStrategy and shared='neck'.*shared=features"
        if self.measures and self.mode == "whole":
            return "torch.compile of the whole LightningModule.*compile trunk and heads"
        return None


def _is_tested(cell: Cell) -> bool:
    if cell.balancer == "gradnorm-global" and cell.accumulate > 1:  # the Dice score of four batches is not that of one
        return False
    if cell.strategy == "ddp-static":  # what it is refused for is all there is to test
        return cell.measures and cell == Cell(cell.balancer, "ddp-static")
    if cell.mode == "inductor":  # needs a C++ compiler, and its time
        return cell.strategy == "single" and cell.precision in ("32", "16-mixed") and cell.accumulate == 1
    if cell.mode == "whole":  # one cell a strategy shows whether it is refused or works
        return cell.precision == "32" and cell.accumulate == 1 and cell.strategy != "fsdp2"  # Lightning refuses that
    if cell.mode in ("manual", "resumed") and cell.strategy == "ddp-unused":
        return False
    if cell.mode == "resumed":
        return cell.precision in ("32", "16-mixed")
    if cell.precision == "64-true":  # Lightning's ModelParallelStrategy has none
        return cell.mode in ("eager", "manual") and cell.strategy != "fsdp2"
    return True


CELLS = [
    cell
    for values in itertools.product(BALANCERS, STRATEGIES, PRECISIONS, ACCUMULATE, MODES)
    if _is_tested(cell := Cell(*values))
]
