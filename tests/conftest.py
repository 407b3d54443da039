"""What all tests share."""

import pytest
import torch

torch.set_num_threads(1)  # tensors are tiny: on shared cores, threads would mostly wait for each other


@pytest.fixture
def generator() -> torch.Generator:
    """Randomness that is the same in every run, whatever the order of the tests."""
    return torch.Generator().manual_seed(0)


def pytest_make_parametrize_id(val) -> str | None:
    """A row of a table is named by its `id`."""
    return getattr(val, "id", None)


def pytest_collection_modifyitems(config, items) -> None:
    """Slow tests run only when asked for with `-m`."""
    if not config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow; run with -m slow"))
