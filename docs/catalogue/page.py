"""The page, put together."""

import re
from pathlib import Path

from catalogue.curves import PLOTS
from catalogue.entries import Entry
from catalogue.families import FAMILIES, Family

DOCS = Path(__file__).parents[1]
SCALING = DOCS.parent / "benchmarks" / "results" / "losses_scaling.md"

HEAD = """# Losses

Every loss with its formula, range, reference, use, traps, and a plot of value and gradient. This page is written by
`python -m catalogue` in `docs`, from the docstrings of the classes in
[`lightning_losses/losses`](../lightning_losses/losses): change those.

- Shapes: N is the batch, C or K the number of classes, `*` any further axes. Where none are given, all inputs have one
  shape, whatever it is.
- Beside its inputs a loss takes `weight` and `mask`, per element: a weight of 2 is the element twice, a mask of False
  is the element deleted. Losses that compare the embeddings of a batch take no weight, penalties of a model neither.
- Plots: the gradient is the derivative along the horizontal axis. Dashed is the reference and dotted the lower bound,
  where there are such.

## Values of different losses cannot be compared

A cross-entropy of 2.3 over ten classes and a squared error of 2.3 on pixels say nothing about each other: one is what a
model scores that knows nothing, the other depends on the unit of the target. So every loss knows its range and a
**reference**, the score of a predictor that does not look at the input, and with them

```math
\\text{normalised} = \\frac{\\text{loss} - \\text{lower}}{\\text{reference} - \\text{lower}}
```

is 0 where the loss is perfect, 1 where it knows nothing, and above 1 where it is worse than that: the reference is no
upper bound. `loss.bounds()` gives what is known without data and `loss.bounds(loss.statistics(input, target))` the
rest; a `LossModule` collects the statistics and reports `normalized` by itself, and `NormalizedLossMonitor` logs it.
Where there is no reference, as for the critic of a Wasserstein GAN, nothing is normalised.

Weights of terms are a separate matter: two losses at the same normalised value may still pull with gradients of very
different size.
"""

GROWTH = """
## Time and memory against size

Focal and Tversky losses are linear in the number of elements, in time and memory, like cross-entropy; surveys that
give O(n log n) for the one and O(n^2) for the other are wrong. Lovász losses and ListMLE sort, which is n log n. What
compares all pairs of a batch or of a list is quadratic, and so is here the mean over all triplets, of which there are
N^3. Exponents of time move by up to 0.1 from run to run, those of memory not at all.
"""


def page() -> str:
    """The whole page."""
    entries = {name: Entry.of(name) for family in FAMILIES for name in family.members}
    parts = [HEAD, _contents(), _summary(entries)]
    parts += [_family(family, entries) for family in FAMILIES]
    parts += [GROWTH, _growth()]
    return _linked("\n".join(parts), entries).rstrip() + "\n"


def _contents() -> str:
    titles = [family.title for family in FAMILIES] + ["Time and memory against size"]
    return "## Contents\n\n" + "\n".join(f"- [{title}](#{_anchor(title)})" for title in ("All losses", *titles)) + "\n"


def _summary(entries: dict[str, Entry]) -> str:
    lines = ["## All losses", "", "| Loss | Task | Inputs | Range | Reference |", "|---|---|---|---|---|"]
    for family in FAMILIES:
        for entry in (entries[name] for name in family.members):
            cells = (f"`{entry.name}`", family.title, entry.inputs(), *entry.docstring.bounds())
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _family(family: Family, entries: dict[str, Entry]) -> str:
    return "\n".join([f"## {family.title}\n\n{family.choice}\n", *(_entry(entries[name]) for name in family.members)])


def _entry(entry: Entry) -> str:
    plot, said = PLOTS[entry.name], entry.docstring
    note = f"\n*{plot.note}*\n" if plot.note else ""
    arguments = "\n".join(f"- `{name}`: {text}" for name, text in said.arguments.items())
    return f"""### {entry.name}

{said.summary}

```python
loss = {entry.signature()}
loss{entry.call()}
```

![Value and gradient of {entry.name} against: {plot.x}]({entry.figure})
{note}
{said.body()}

<details><summary>Arguments</summary>

{arguments}

</details>
"""


def _growth() -> str:
    return SCALING.read_text().partition("\n\n")[2]


def _cell(text: str) -> str:
    """Text in which nothing ends the cell."""
    return text.replace(r"\|", r"\Vert ").replace("|", r"\vert ")


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())


def _linked(text: str, entries: dict[str, Entry]) -> str:
    """Names of losses outside of code blocks and headings lead to their entries."""
    names = "|".join(entries)
    return re.sub(rf"(?<![`\[$])`({names})`(?!`)", lambda found: f"[{found[0]}](#{found[1].lower()})", text)
