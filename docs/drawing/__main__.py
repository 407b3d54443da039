"""Draw all of them, or those that are named: python -m drawing flow parity."""

import sys

import torch

from drawing import curves, diagrams, training

DRAWERS = {
    drawer.__name__: drawer
    for drawer in (
        diagrams.flow,
        diagrams.places,
        diagrams.parity,
        curves.bounds,
        curves.gradnorm,
        curves.stability,
        curves.piecewise,
        curves.ewc,
        curves.uncertainty,
        training.monitors,
        training.surface,
    )
}

torch.set_num_threads(1)
for name in sys.argv[1:] or DRAWERS:
    DRAWERS[name]()
