"""The panels as a W&B workspace, made without a network or an account."""

import re
from collections.abc import Sequence
from itertools import takewhile

import wandb_workspaces.reports.v2.interface as wr
import wandb_workspaces.workspaces as ws

from lightning_losses.dashboards.panels import SECTIONS, Panel, edges
from lightning_losses.dashboards.regex import regex_of
from lightning_losses.dashboards.wandb_log import STEP

NAME = "Lightning Losses"
MOST_RUNS = 50  # on one panel; W&B's own limit is 10, which a sweep exceeds
WILD = re.compile(r"[*?\[]")


def workspace(entity: str, project: str, group_by: Sequence[str] = ()) -> ws.Workspace:
    """Every section, and one that compares the configurations of runs.

    Args:
        entity: whose project it is.
        project: its name.
        group_by: keys of the configuration, such as ``model.lr``: runs that agree in them are shown as one line with
            their spread, in one colour.
    """
    compared = ws.Section(name="Configurations compared", panels=[wr.RunComparer(diff_only="split")])
    sections = [
        ws.Section(
            name=section.title, panels=[drawn for panel in section.panels for drawn in _drawn(panel)], is_open=True
        )
        for section in SECTIONS
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[*sections, compared],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=MOST_RUNS),
        runset_settings=ws.RunsetSettings(groupby=[ws.Config(key) for key in group_by]),
    )


def metric_regex(panel: Panel) -> str:
    """One regular expression for the keys that `place` gives to a panel of numbers.

    The edges of bands are left out where there may be many bands: W&B draws no shades.
    """
    before = takewhile(lambda other: other != panel, (other for section in SECTIONS for other in section.panels))
    taken = [key for other in before if other.media is None for key in other.keys]
    drawn_as_edges = {edge for key in panel.keys for edge in edges(key)} if panel.kind == "band" else set()
    return f"^({'|'.join(regex_of(key, taken) for key in panel.keys if key not in drawn_as_edges)})$"


def _drawn(panel: Panel) -> list[wr.LinePlot | wr.MediaBrowser | wr.WeavePanelSummaryTable]:
    named = [key for key in panel.keys if not WILD.search(key)]
    if panel.kind == "image":  # W&B takes no patterns here
        return [wr.MediaBrowser(title=panel.title, media_keys=named, gallery_axis="step")]
    if panel.kind == "table":
        return [wr.WeavePanelSummaryTable(table_name=key) for key in named]
    return [_plot(panel, named)]


def _plot(panel: Panel, named: Sequence[str]) -> wr.LinePlot:
    is_wild = len(named) < len(panel.keys)
    return wr.LinePlot(
        title=panel.title,
        x=STEP,
        y=[] if is_wild else [*named],
        metric_regex=metric_regex(panel) if is_wild else None,
        log_y=panel.log or None,
        smoothing_type="exponential" if panel.smoothing else None,
        smoothing_factor=panel.smoothing or None,
        smoothing_show_original=True if panel.smoothing else None,
        max_runs_to_show=MOST_RUNS,
    )
