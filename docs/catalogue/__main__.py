"""Write the page and the figures."""

import torch

from catalogue.curves import PLOTS
from catalogue.page import DOCS, page
from catalogue.plot import draw

torch.set_num_threads(1)  # tensors are tiny
FIGURES = DOCS / "losses"
FIGURES.mkdir(exist_ok=True)
for name, plot in PLOTS.items():
    draw(plot, FIGURES / f"{name}.svg")
for stale in FIGURES.glob("*.svg"):
    if stale.stem not in PLOTS:
        stale.unlink()
(DOCS / "losses.md").write_text(page())
