"""What `pip install` gives a user."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the source tree")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, because setuptools leaves its build folder behind and packs what is in it
    for name in ("lightning_losses", "callbacks", "recipes"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True)
    return zipfile.ZipFile(next(folder.glob("*.whl"))).namelist()


def sources() -> set[str]:
    """Every Python file of the three source folders, under the name that it is installed by."""
    homes = {
        "lightning_losses": "lightning_losses",
        "callbacks": "lightning_losses/callbacks",
        "recipes": "lightning_losses/recipes",
    }
    return {
        f"{home}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, home in homes.items()
        for path in (ROOT / folder).rglob("*.py")
    }


def test_the_wheel_holds_every_module_and_nothing_else(wheel: list[str]) -> None:
    assert {name for name in wheel if name.endswith(".py")} == sources()


def test_nobodys_own_callbacks_package_is_shadowed(wheel: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel if ".dist-info" not in name} == {"lightning_losses"}


def test_the_wheel_holds_the_types_and_the_recipes_files(wheel: list[str]) -> None:
    assert "lightning_losses/py.typed" in wheel
    shipped = {
        f"lightning_losses/recipes/{p.relative_to(ROOT / 'recipes').as_posix()}"
        for p in (ROOT / "recipes").rglob("*.yaml")
    }
    assert shipped
    assert shipped <= set(wheel)


def test_the_import_stays_light() -> None:
    heavy = {"wandb", "torchvision", "matplotlib", "sklearn", "torchjd", "lightning_losses.cli"}
    code = f"import sys, lightning_losses; print(*sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""


def test_the_core_depends_on_what_the_mission_names_and_on_no_hydra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {dependency.split(">")[0].split("[")[0] for dependency in project["dependencies"]}
    assert names == {"torch", "lightning", "torchmetrics", "wandb", "omegaconf", "jsonargparse"}
    everything = str(project["dependencies"]) + str(project["optional-dependencies"])
    assert "hydra" not in everything
