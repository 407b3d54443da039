"""docs/compatibility.md from the cells that the tests run: cd tests && python -m parity.table"""

from pathlib import Path

from parity.cells import ACCUMULATE, BALANCERS, CELLS, MODES, PRECISIONS, STRATEGIES, Cell

FILE = Path(__file__).parents[2] / "docs" / "compatibility.md"

HEAD = """# What works with what

Every cell is a training that the test suite runs ([tests/test_parity.py](../tests/test_parity.py)) and compares with
one process that takes the whole batch at once, eager, in full precision: losses, weights, the balancer's state, and
the gradients and weights of the model, over four optimizer steps with momentum, and between ranks bit by bit.
Largest relative difference allowed: 1e-5 in float32, 1e-12 in float64, 5e-3 in fp16 (with a GradScaler), 3e-2 in bf16.
A cell that cannot work is refused in `setup`, before anything is trained, by an error that names it and what to do
instead; the numbers lead to the reasons. This file is written by `python -m parity.table` in `tests`.

- **yes**: in every precision, 32, 64-true, bf16-mixed and 16-mixed, but for those that the notes name.
- **eager / compiled / inductor / whole / manual / resumed**: not compiled; trunk and heads compiled by themselves, by the `aot_eager`
  backend or by inductor; `torch.compile(model)` as a whole; manual optimization with
  `lightning_losses.callbacks.manual_step`, not compiled; stopped half-way and gone on from a checkpoint, which must be
  bit-equal to the run in one go.
"""

REASONS = {
    "accumulate": "A same-step Gramian is complete only with the last micro-batch, after the backward of "
    "the others. `Gramian(..., lagged=True)` weighs a step by the Gramian of the one before.",
    "static_graph": "`static_graph=True` replays a graph that has another backward in it and silently stops "
    "synchronising gradients. Leave it out.",
    "ModelParallelStrategy": "autograd cannot measure at parameters that FSDP2 has sharded. Pass `shared=features`.",
    "torch.compile": "Out of one compiled region come both features and losses; in it there is no gradient at the "
    "features. Compile trunk and heads by themselves.",
}

NOTES = """
## Notes

- FSDP2 takes neither 64-true nor a compiled LightningModule: Lightning's `ModelParallelStrategy` refuses both.
  Compiled cells are run in 32, bf16-mixed and 16-mixed, inductor in 32 and 16-mixed, `whole` in 32; 64-true is run eager
  and manual, resumed runs in 32 and 16-mixed.
- All cells clip the gradient's norm. fp16 is run on the CPU with a CPU GradScaler.
- Compiled heads that a probe differentiates before the ordinary backward must keep their buffers:
  `torch._functorch.config.donated_buffer = False`, which the callback sets; in a loop of your own, set it yourself. With
  `criterion.branch(features)` there is nothing to set.
- A step that a GradScaler skips changes nothing in a balancer, and a run that was killed and resumed is bit-equal to
  one that was not: [tests/test_lightning.py](../tests/test_lightning.py), [tests/test_kill.py](../tests/test_kill.py).
- Losses over the whole batch (Dice, masked and weighted means) exchange sums and counts, so ranks change nothing
  ([tests/test_losses_distributed.py](../tests/test_losses_distributed.py)). Micro-batches do: a Dice score of four
  small batches is not that of a large one, in any library. `per_image=True` does not depend on it.
- Micro-batches and ranks count alike, as in Lightning's average of gradients: give all the same number of samples.
- References of normalised losses (the score of a mean, of a median) are estimates from batches, and batches cut
  differently estimate them differently, by a percent or so.
- The callback that ends the steps adds itself to Trainers of `lightning.pytorch`. One of the `pytorch_lightning` package
  does without: there every training call is a step, or you call `step` yourself.
- `FSDPStrategy` (FSDP1), DeepSpeed and tensor parallelism are refused with balancers that measure gradients: FSDP1 does
  not run without an accelerator, so it is not tested.
"""


def table() -> str:
    """The whole page."""
    columns = [(a, c) for a in ACCUMULATE for c in MODES if not (a > 1 and c == "whole")]
    lines = [HEAD]
    for strategy, title in STRATEGIES.items():
        mine = [column for column in columns if _cells("gradnorm-features", strategy, *column)]
        lines += [f"\n## {title}\n", "| | " + " | ".join(f"accumulate {a}, {c}" for a, c in mine) + " |"]
        lines.append("|---|" + "---|" * len(mine))
        for balancer, name in BALANCERS.items():
            entries = [_entry(_cells(balancer, strategy, *column)) for column in mine]
            if any(_cells(balancer, strategy, *column) for column in mine):
                lines.append(f"| {name} | " + " | ".join(entries) + " |")
    lines.append("\n## Why not\n")
    lines += [f"{number}. {reason}" for number, reason in enumerate(REASONS.values(), 1)]
    return "\n".join(lines) + "\n" + NOTES


def _cells(balancer: str, strategy: str, accumulate: int, mode: str) -> list[Cell]:
    row = [Cell(balancer, strategy, precision, accumulate, mode) for precision in PRECISIONS]
    return [cell for cell in row if cell in CELLS]


def _entry(cells: list[Cell]) -> str:
    refusals = {cell.refusal for cell in cells}
    if not cells:
        return "see notes"
    (refusal,) = refusals  # no cell of a row is refused for its precision
    if refusal is None:
        return "yes"
    number = next(n for n, key in enumerate(REASONS, 1) if key in refusal)
    return f"refused ({number})"


if __name__ == "__main__":
    FILE.write_text(table())
