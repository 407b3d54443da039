"""The workspace on W&B: its content, and how it is saved to a server on this machine that stands in for W&B's."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import wandb

from lightning_losses.cli import main
from lightning_losses.dashboards import panels

pytest.importorskip("wandb_workspaces", reason="the extra `dashboards`")
GOLDEN = Path(__file__).parent / "golden" / "workspace.json"
KEY = "0123456789" * 4


class Stub(BaseHTTPRequestHandler):
    """Answers what is asked on the way to a saved workspace, and remembers what was saved."""

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, answer = self.server.answer(json.loads(asked)) if self.path == "/graphql" else (200, {})
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """W&B's, with one project called `there`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Stub)
        self.views: dict[str, dict[str, Any]] = {}
        self.inserted: list[bool] = []
        self.refuses = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        query, given = asked["query"], asked.get("variables") or {}
        if self.refuses:
            return 401, {"errors": [{"message": f"unknown key {KEY}"}]}
        if "upsertView" in query:
            self.inserted.append("id" not in given)
            self.views[given["name"]] = given
            return 200, {"data": {"upsertView": {"view": {"id": "VIEW", "name": given["name"]}, "inserted": True}}}
        if "allViews" in query:
            view = self.views.get(given["viewName"])
            nodes = [{"node": {"id": "VIEW", "displayName": view["displayName"], "spec": view["spec"]}}] if view else []
            return 200, {
                "data": {"project": {"allViews": {"edges": nodes}} if given["projectName"] == "there" else None}
            }
        return 200, {
            "data": {"viewer": {"id": "ME", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        }


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def publish(monkeypatch, capsys) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run the command as somebody who is logged in: its exit code and what it printed."""

    def run(url: str, *words: str) -> tuple[int, str, str]:
        for name, value in {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "NETRC": "nowhere"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("lightning_losses.dashboards.wandb.SECONDS", 60.0)  # the machine may be busy
        try:
            return main(["dashboard", "publish", *words]), *capsys.readouterr()
        finally:
            wandb.teardown()  # which knows one server at a time

    return run


def spec(**arguments: Any) -> dict[str, Any]:
    """The workspace as it is sent, without the names that are drawn at random."""
    from lightning_losses.dashboards.workspace import workspace

    sent = workspace("me", "there", **arguments)._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    return without_ids(json.loads(sent))


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_ids(item) for key, item in value.items() if key not in ("__id__", "id")}
    return [without_ids(item) for item in value] if isinstance(value, list) else value


def drawn(value: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = value["section"]["panelBankConfig"]["sections"]
    return {section["name"]: [panel["config"] for panel in section["panels"]] for section in sections}


def named(config: dict[str, Any]) -> str:
    """The table that a panel shows."""
    return config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]


def test_workspace_is_the_one_that_was_looked_at() -> None:
    """After a change that is meant, write it again: python tests/test_dashboards_wandb.py."""
    assert spec() == json.loads(GOLDEN.read_text())


def test_every_panel_is_drawn_in_its_section_over_the_steps() -> None:
    sections = drawn(spec())
    assert list(sections) == [*(section.title for section in panels.SECTIONS), "Configurations compared"]
    for section in panels.SECTIONS:
        shown, configs = [panel for panel in section.panels if panel.kind != "table"], list(sections[section.title])
        tables = [key for panel in section.panels if panel.kind == "table" for key in panel.keys if "*" not in key]
        assert [named(configs.pop()) for _ in tables] == tables[::-1]
        assert [config["chartTitle"] for config in configs] == [panel.title for panel in shown]
        for panel, config in zip(shown, configs, strict=True):
            if panel.kind == "image":
                assert config["mediaKeys"] == [key for key in panel.keys if "*" not in key]
                continue
            assert config["xAxis"] == "trainer/global_step"
            assert bool(config["metrics"]) != bool(config.get("useMetricRegex"))
            assert config.get("smoothingWeight", 0) == panel.smoothing
            assert config.get("yLogScale", False) == panel.log


def test_runs_of_a_sweep_are_grouped_by_their_configuration() -> None:
    (runs,) = spec(group_by=["model.lr", "seed_everything"])["section"]["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["model.value.lr", "seed_everything.value"]


def test_saving_again_brings_the_same_workspace_up_to_date(server, publish) -> None:
    for words in (["there"], ["there", "--group-by", "model.lr"]):
        assert publish(server.url, *words) == (0, f"{server.url}/me/there?nw=lightninglosses\n", "")
    assert server.inserted == [True, False]
    ((name, saved),) = server.views.items()
    assert (name, saved["id"], saved["projectName"], saved["displayName"]) == (
        "nw-lightninglosses-v",
        "VIEW",
        "there",
        "Lightning Losses",
    )
    assert drawn(without_ids(json.loads(saved["spec"]))) == drawn(spec())
    assert KEY not in json.dumps(server.views)


def test_a_project_that_is_not_there_is_one_line(server, publish) -> None:
    assert publish(server.url, "elsewhere", "--entity", "team") == (
        2,
        "",
        "lightning-losses: W&B did not take the workspace: Project `team/elsewhere` not found. "
        "Do you have access to this project?\n",
    )


def test_a_key_that_is_refused_is_one_line_without_the_key(server, publish) -> None:
    server.refuses = True
    try:
        code, out, err = publish(server.url, "there")
    finally:
        server.refuses = False
    assert (code, out) == (2, "")
    assert err.startswith("lightning-losses: W&B did not take the workspace: ")
    assert "unknown key" in err
    assert err.count("\n") == 1
    assert KEY not in err


def test_a_server_that_cannot_be_reached_is_one_line(publish) -> None:
    code, out, err = publish("http://127.0.0.1:9", "there")
    assert (code, out) == (2, "")
    assert err.startswith("lightning-losses: W&B did not take the workspace: ")
    assert err.count("\n") == 1


@pytest.fixture
def nobody(monkeypatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", "nowhere")


@pytest.mark.usefixtures("nobody")
def test_who_is_not_logged_in_is_told_how(capsys) -> None:
    assert main(["dashboard", "publish", "there"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "lightning-losses: You are not logged in to W&B: run `wandb login` or set WANDB_API_KEY. Without an account, "
        "`lightning-losses dashboard report RUN` writes the same dashboard as a file.\n"
    )


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    "name",
    ["", " ", "..", "a/b", "../a", "a?b=c", "a#b", "a%2fb", "https://x", "a\nb", "a\x00b", ".a", "a ", "x" * 129],
)
def test_names_that_would_lead_elsewhere_are_refused(capsys, name) -> None:
    for words in (["--", name], ["there", "--entity", name]):
        assert main(["dashboard", "publish", *words]) == 2
        err = capsys.readouterr().err
        assert "must be a name of at most 128 characters" in err
        assert repr(name) in err
        assert err.count("\n") == 1


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(spec(), indent=1) + "\n")
