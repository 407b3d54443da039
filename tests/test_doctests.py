"""Every example in a docstring runs and shows what it says."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import lightning_losses

MODULES = sorted(m.name for m in pkgutil.walk_packages(lightning_losses.__path__, "lightning_losses."))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "lightning_losses":
            raise
        pytest.skip(f"needs {error.name}")
    torch.manual_seed(0)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert failed == 0
