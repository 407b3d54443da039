"""Puts the workspace on W&B."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from lightning_losses.checks import message
from lightning_losses.resolvers import is_logged_in_to_wandb

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

VIEW = "lightninglosses"
"""What the workspace's address ends with: `publish` finds by it what it has made before."""
SECONDS = 20.0
"""Within which W&B has to answer a request; there are five, and each is tried twice."""


def publish(project: str, entity: str | None = None, group_by: Sequence[str] = ()) -> str:
    """Make the workspace of a project, or bring it up to date.

    It is one workspace a project: doing so again replaces its panels, and leaves other workspaces alone.

    Args:
        project: the project's name; it need not hold runs yet.
        entity: the user or team that owns it; by default yourself.
        group_by: see `workspace`.

    Returns:
        Its address.

    Raises:
        ValueError: a name that W&B does not take.
        PermissionError: nobody is logged in.
        ConnectionError: W&B cannot be reached, or refuses.
    """
    _check_name("PROJECT", project)
    if entity is not None:
        _check_name("--entity", entity)
    if not is_logged_in_to_wandb():
        raise PermissionError(
            "You are not logged in to W&B: run `wandb login` or set WANDB_API_KEY. Without an account, "
            "`lightning-losses dashboard report RUN` writes the same dashboard as a file."
        )
    import wandb

    from lightning_losses.dashboards.workspace import workspace

    wandb.setup(
        settings=wandb.Settings(
            silent=True, x_graphql_timeout_seconds=SECONDS, x_graphql_retry_max=1, x_graphql_retry_wait_max_seconds=2.0
        )
    )
    try:
        ours = workspace(entity or str(wandb.Api(timeout=int(SECONDS)).default_entity), project, group_by)
        return quote(str(_save(ours).url), safe=":/?=")
    except wandb.Error as error:
        raise ConnectionError(f"W&B did not take the workspace: {_without_keys(str(error))}") from None


def _save(ours: "Workspace") -> "Workspace":
    from wandb_workspaces.workspaces import Workspace

    try:  # of the address only the path is read
        there = Workspace.from_url(f"https://wandb.ai/{ours.entity}/{ours.project}?nw={VIEW}")
    except ValueError as error:
        if not str(error).startswith("Workspace "):  # the project does not exist, or is not theirs to see
            raise ConnectionError(f"W&B did not take the workspace: {error}") from None
        ours._internal_name = f"nw-{VIEW}-v"
        return cast(Workspace, ours.save())  # type: ignore[no-untyped-call]
    there.sections, there.settings, there.runset_settings = ours.sections, ours.settings, ours.runset_settings
    return cast(Workspace, there.save())


def _check_name(parameter: str, name: str) -> None:
    """By W&B's rule for projects, and nothing that would lead elsewhere in an address."""
    if not re.fullmatch(r"[^/\\#?%:\x00-\x1f\x7f]{1,128}", name) or name.strip(". ") != name:
        rule = r"a name of at most 128 characters, without / \ # ? % : and with no dot or space around it"
        raise ValueError(message(parameter, rule, name))


def _without_keys(text: str) -> str:
    """One line, without anything as long as an API key: a server may repeat the one that it was given."""
    return re.sub(r"[0-9A-Za-z_]{32,}", "...", " ".join(text.split()))
