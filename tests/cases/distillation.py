"""Distillation."""

from cases.case import Array, Case
from cases.divergences import divergence_case, extreme_pair, kl, paired, softmax
from lightning_losses.losses import Distillation


def distillation_case(temperature: float) -> Case:
    def formula(x: Array, y: Array) -> float:
        return temperature**2 * kl(softmax(y / temperature), softmax(x / temperature))

    id = f"Distillation-temperature{temperature:g}"
    return divergence_case(id, Distillation, formula, paired, extreme_pair, temperature=temperature)


CASES = [distillation_case(1.0), distillation_case(4.0)]
