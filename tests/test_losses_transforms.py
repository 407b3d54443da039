"""A compiled loss is the eager one, in one graph."""

from collections.abc import Iterator

import pytest
import torch
from cases import CASES, Case

REPRESENTATIVE = ("CrossEntropy-everything", "SigmoidFocal-gamma2-alpha0.25", "GIoU", "DiceCE-everything")


@pytest.fixture(autouse=True)
def forget_graphs() -> Iterator[None]:
    """Each loss is compiled as if it were the first."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def check_compiled(case: Case, backend: str, generator: torch.Generator) -> None:
    input, target = case.inputs(generator, 4)
    mask = torch.rand(case.elements(target), generator=generator) < 0.7
    weight = torch.rand(mask.shape, generator=generator, dtype=torch.float64) if case.weighable else None
    loss = case.loss()
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    for arguments in ((), (weight, mask)):
        eager_input, compiled_input = (input.clone().requires_grad_() for _ in range(2))
        expected, found = loss(eager_input, target, *arguments), compiled(compiled_input, target, *arguments)
        expected.backward()
        found.backward()
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(compiled_input.grad, eager_input.grad)


@pytest.mark.parametrize("case", CASES)
def test_it_compiles_into_one_graph_with_the_eager_value_and_gradient(case: Case, generator) -> None:
    check_compiled(case, "aot_eager", generator)


@pytest.mark.parametrize("case", [case for case in CASES if case.id in REPRESENTATIVE])
def test_generated_code_has_the_eager_value_and_gradient(case: Case, generator) -> None:
    check_compiled(case, "inductor", generator)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.id not in REPRESENTATIVE])
def test_generated_code_of_the_other_losses_too(case: Case, generator) -> None:
    check_compiled(case, "inductor", generator)
