"""What do the losses cost, beside those of other libraries?

Forward and backward on one thread, after a check that all compute the same value and gradient; the limit is the time in
which the bytes that have to move can be copied. Targets: focal at least 1.4 times as fast as torchvision's; Dice 1.15
and Dice with cross-entropy 1.6 times as fast as MONAI's; InfoNCE 100 times as fast as pytorch-metric-learning's
NTXentLoss, and no slower than `cross_entropy(z z^T / tau)`; with `fused=True` nothing is saved for the backward pass.
"""

import warnings
from collections.abc import Iterator

import torch
from _common import arguments, publish, table
from _losses_cases import CASES, Case
from _losses_measured import ROUND, CaseMeasured, measure

NOTHING = 0.005  # bytes an element that count as 0: sums over pixels are of no size


def held(yes: bool) -> str:
    return "holds" if yes else "MISSED"


def section(case: Case, found: CaseMeasured) -> str:
    """The table of one case."""
    columns = (case.name, "ms", "its time / the limit's", "its time / ours", "saved, B an element", "peak")
    rows = [
        (
            name,
            row.ms.text(significant(row.ms.median)),
            row.over_limit.text(significant(row.over_limit.median)),
            row.over_ours.text(),
            f"{row.saved:,.1f}",
            f"{row.peak:,.1f}",
        )
        for name, row in found.rows.items()
    ]
    limit = (f"*limit: {found.bytes_an_element:.0f} B an element*", f"{found.limit_ms:.3g}", "1", "", "", "")
    missing = f"\n\nNot installed: {', '.join(found.missing)}." if found.missing else ""
    return table(columns, [limit, *rows]) + missing


def significant(value: float) -> int:
    """Decimals that show three digits."""
    return 0 if value >= 100 else 1 if value >= 10 else 2


def verdicts(case: Case, found: CaseMeasured) -> Iterator[str]:
    """Each target, and whether it holds."""
    ours = case.rows[0].name
    for peer, at_least in case.targets:
        if peer in found.rows:
            faster = found.rows[peer].over_ours
            holds = held(faster.median >= at_least)
            yield f"- {ours} is {faster.text()} times as fast as {peer}, target {at_least:g}: {holds}."
    for lean in case.lean:
        saved = found.rows[lean].saved
        yield f"- {lean} saves {saved:.3f} bytes an element, target 0: {held(saved < NOTHING)}."


NOTE = (
    "CPU time of forward and backward on one thread, median [quartiles] of {rounds} interleaved rounds; in each, "
    "what is fast runs for about {round} ms. Before any is timed, its value (to 1e-4) and its gradient (to 2e-3 of "
    "its norm) are found equal to those of the first row, or of the row that scores each image by itself. The "
    "limit: forward reads input and target, backward reads them again and writes the gradient, as fast as the input "
    "is copied in the same round; embeddings fit into the cache. Saved: all memory that autograd packs for the "
    "backward pass, each piece once, without input and target. Peak: what torch's allocator lends out at the worst "
    "moment of both, the gradient (4 B) included. An element is a number of the input.\n\n"
    "How the peers were set up: MONAI's Dice without smoothing and over the batch, as ours is; kornia's by image "
    "and class, where its default pools the classes; kornia's and MONAI's softmax focal take the mean over the "
    "class axis too, hence 8 times; PML's triplets are averaged over all, where its default leaves out those beyond "
    "the margin; timm's asymmetric loss is averaged, where its default sums over the classes; torchvision's "
    "complete IoU holds its trade-off constant in the gradient, a thousandth of the norm."
)


def main() -> None:
    options = arguments(__doc__, repeats=15)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "single channel prediction")  # MONAI, of what is wanted here
    found = {case.name: measure(case, options.repeats) for case in CASES}
    sections = [section(case, found[case.name]) for case in CASES]
    lines = [line for case in CASES for line in verdicts(case, found[case.name])]
    note = NOTE.format(rounds=options.repeats, round=f"{1e3 * ROUND:.0f}")
    numbers = {
        name: {**case._asdict(), "rows": {row: values._asdict() for row, values in case.rows.items()}}
        for name, case in found.items()
    }
    publish(
        options.output,
        "What do the losses cost?",
        "\n\n".join([*sections, "\n".join(lines), note]),
        {"cases": numbers},
    )


if __name__ == "__main__":
    main()
