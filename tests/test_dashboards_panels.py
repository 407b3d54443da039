"""What the dashboard shows against what real runs of the recipes log: nothing is missing on either side."""

import json
import re
from fnmatch import fnmatchcase

import pytest
import wandb
from omegaconf import OmegaConf
from wandb.proto.wandb_internal_pb2 import Record

from lightning_losses.cli import catalogue, main
from lightning_losses.dashboards import history, panels
from lightning_losses.dashboards.record_log import read_records
from lightning_losses.dashboards.regex import regex_of
from lightning_losses.dashboards.wandb_log import read_wandb

LIMITS = ["limit_train_batches=8", "limit_val_batches=1", "limit_test_batches=1", "log_every_n_steps=2"]
ONCE = ["trainer.max_epochs=1"]
MONITORS = "lightning_losses.callbacks."
MEASURED = {"class_path": f"{MONITORS}HessianTraceMonitor", "init_args": {"every_n_steps": 4, "sharpness": "critical"}}
RUNS = {
    "segmentation": (
        [
            *ONCE,
            "model.channels=[4,8]",
            "data.size=16",
            "model.criterion.terms.dice_ce.loss=CrossEntropy",  # of Dice there is no trace by term
            "model.criterion.terms.focal.loss=CrossEntropy",
            "trainer.accumulate_grad_batches=2",
            "trainer.gradient_clip_val=1.0",
        ],
        [
            MEASURED | {"init_args": MEASURED["init_args"] | {"per_term": True}},
            {"class_path": f"{MONITORS}TermGradientMonitor"},
            {"class_path": f"{MONITORS}LossSurfacePlot", "init_args": {"points": 5}},
        ],
    ),
    "detection": (
        [*ONCE, "model.channels=[4,4,4,4,4]", "model.width=8", "model.depth=1", "data.size=48"],
        [MEASURED | {"init_args": {"every_n_steps": 4, "sharpness": "lambda_max"}}],
    ),
    "gan": ([*ONCE, "model.lenet_steps=2"], []),
    "continual": (["data.tasks=2", "data.iterations=8", "model.hidden=[8]"], []),
}
NOT_HERE = {
    *("system/gpu.*", "train/loss_*", "val/loss_*", "loss_surface/eigen", "loss_surface/trajectory"),
    *(
        "gradients/[0-9]/norm/*",
        "gradients/[0-9]/norm_clipped/*",
        "gradients/[0-9]/update_ratio/*",
        "gradients/[0-9]/nonfinite",
    ),
    "train/normalized/*",
}
"""A GPU, losses that are logged by step and by epoch, other directions; a model with several optimizers; and a model of
one's own that logs all of `LossModule.report.metrics` itself: of other machines and other options."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, history.History]:
    """A short training of every recipe, offline, with all monitors."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_X_STATS_SAMPLING_INTERVAL", "0.5")
        patch.setenv("WANDB_CONSOLE", "off")
        patch.setenv("NETRC", "nowhere")
        patch.delenv("WANDB_API_KEY", raising=False)
        for name, (overrides, monitors) in RUNS.items():
            directory = tmp_path_factory.mktemp(name)
            patch.chdir(directory)
            assert main(["fit", name, f"run_dir={directory}", *overrides, *limits(name, monitors)]) == 0
            patch.setattr(wandb, "run", None)  # `fit` has ended it
            found[name] = history.read(directory)
    return found


def limits(name: str, monitors: list[dict]) -> list[str]:
    given = OmegaConf.to_container(OmegaConf.load(catalogue.find(name).file))["trainer"]["callbacks"]
    replaced = {"lightning.pytorch.callbacks.RichProgressBar", *(its["class_path"] for its in monitors)}
    kept = [callback for callback in given if callback["class_path"] not in replaced]
    return [
        f"trainer.callbacks={json.dumps(kept + monitors)}",
        "trainer.enable_progress_bar=false",
        *(f"trainer.{limit}" for limit in LIMITS),
    ]


def keys(found: history.History) -> dict[str | None, set[str]]:
    """By the kind of medium; None of numbers."""
    images, tables = ({medium.key for medium in media} for media in (found.images, found.tables))
    return {None: set(found.series), "image": images, "table": tables}


@pytest.mark.parametrize("name", RUNS)
def test_everything_that_a_recipe_logs_has_a_panel(runs, name) -> None:
    logged = keys(runs[name])
    assert len(logged[None]) > 20
    placed = panels.place(*logged.values())
    assert {key for its in placed.values() for key in its} == set.union(*logged.values())


@pytest.mark.parametrize("name", RUNS)
def test_every_recipe_ends_with_a_picture_and_a_table_that_the_workspace_names(runs, name) -> None:
    for kind in "image", "table":
        named = {key for panel in panels.PICTURES.panels if panel.kind == kind for key in panel.keys if "*" not in key}
        assert keys(runs[name])[kind]
        assert keys(runs[name])[kind] <= named
    assert all(image.path.stat().st_size > 1000 for image in runs[name].images)


def test_every_pattern_of_every_panel_is_logged_by_a_recipe(runs) -> None:
    logged = [keys(found) for found in runs.values()]
    missing = [
        pattern
        for section in panels.SECTIONS
        for panel in section.panels
        for pattern in panel.keys
        if not any(fnmatchcase(key, pattern) for its in logged for key in its[panel.media])
    ]
    assert set(missing) | {"system/gpu.*"} == NOT_HERE


def test_no_run_has_problems(runs) -> None:
    assert {name: found.problems for name, found in runs.items()} == {name: [] for name in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_workspace_draws_each_key_on_the_panel_that_has_it(runs, name) -> None:
    workspace = pytest.importorskip("lightning_losses.dashboards.workspace")
    numbers = [panel for section in panels.SECTIONS for panel in section.panels if panel.media is None]
    series = keys(runs[name])[None]
    edges = {edge for key in series if key.startswith("curvature/") for edge in panels.edges(key)}
    for panel, its in panels.place(series).items():
        for key in set(its) - edges:
            assert [other for other in numbers if re.fullmatch(workspace.metric_regex(other), key)] == [panel]


def test_wandb_keeps_the_best_of_what_is_monitored_and_the_whole_configuration(runs) -> None:
    (log,) = runs["segmentation"].images[0].path.parents[4].glob("run-*.wandb")
    records = [Record.FromString(data) for data in read_records(log).whole]
    of = {record.metric.name: record.metric.summary for record in records if record.metric.name}
    assert (of["val/iou"].max, of["val/iou"].min, of["val/iou"].last) == (True, False, True)
    assert (of["val/loss"].max, of["val/loss"].min, of["val/loss"].last) == (False, True, True)
    found = read_wandb(log.parent).config
    assert found["model"]["lr"] == 0.003
    assert found["trainer"]["accumulate_grad_batches"] == 2


def test_titles_are_unique_and_sentences_are_sentences() -> None:
    shown = [panel for section in panels.SECTIONS for panel in section.panels]
    assert len({panel.title for panel in shown}) == len(shown)
    assert all(item.about.endswith(".") for item in (*shown, *panels.SECTIONS))


@pytest.mark.parametrize(
    ("pattern", "taken", "matching", "other"),
    [
        ("a.b/*", [], ["a.b/", "a.b/c/d"], ["aab/c", "a.b"]),
        (
            "a/*",
            ["a/loss", "a/loss_*"],
            ["a/", "a/los", "a/lossy", "a/x", "a/loss/x"],
            ["a/loss", "a/loss_", "a/loss_x"],
        ),
        ("a/*", ["a/x+*", "b"], ["a/x", "a/xx", "a/"], ["a/x+", "a/x+y"]),
        ("a/*", ["a/]", "a/^", "a/-"], ["a/", "a/x", "a/]]", "a/--"], ["a/]", "a/^", "a/-"]),
        ("a/[0-9]/*", ["a/*"], ["a/1/x"], ["a/10/x", "a/x/x"]),
    ],
)
def test_regular_expressions_leave_out_exactly_what_is_taken(pattern, taken, matching, other) -> None:
    found = re.compile(regex_of(pattern, taken))
    assert [key for key in (*matching, *other) if found.fullmatch(key)] == matching


def test_a_pattern_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(ValueError, match="`taken` must leave something of 'a/b"):
        regex_of("a/b*", ["a/*", "a/b*"])
