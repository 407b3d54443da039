"""What all tests share."""

import os
import sys

import pytest
import torch
from cluster.slurm import Cluster

torch.set_num_threads(1)  # tensors are tiny: on shared cores, threads would mostly wait for each other


@pytest.fixture
def generator() -> torch.Generator:
    """Randomness that is the same in every run, whatever the order of the tests."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A SLURM cluster of two nodes on this machine."""
    with Cluster(tmp_path_factory.mktemp("cluster") / "slurm") as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _leaves_no_seed():
    """Lightning keeps the seed of a training in the environment, and seeds the ranks of the next one with it."""
    yield
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _leaves_no_wandb():
    """The run of a test that failed would be taken for that of the next, and W&B's process writes where it began."""
    mode = os.environ.get("WANDB_MODE")
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
    if mode is None:
        os.environ.pop("WANDB_MODE", None)  # Lightning sets it


def pytest_make_parametrize_id(val) -> str | None:
    """A row of a table is named by its `id`."""
    return getattr(val, "id", None)


def pytest_collection_modifyitems(config, items) -> None:
    """Slow tests run only when asked for with `-m`."""
    if not config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow; run with -m slow"))
