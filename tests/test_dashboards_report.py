"""The report: it shows what was logged, no more and no less, and is written whole or not at all."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_runs import HOSTILE, STEPS, hostile, run, series

from lightning_losses.cli import main
from lightning_losses.dashboards import history, report
from lightning_losses.dashboards.history import History, Table
from lightning_losses.dashboards.page.arrays import kept
from lightning_losses.dashboards.page.matrix import matrix
from lightning_losses.dashboards.panels import SECTIONS

TOY = str(Path(__file__).parent / "recipes" / "toy")


class Document(HTMLParser):
    """The tags of a page, and what is written in and between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside != "style" and data.strip():
            self.texts.append(data)

    def of(self, tag, **wanted):
        return [attrs for name, attrs in self.tags if name == tag and wanted.items() <= attrs.items()]


def data(page):
    """What the script of the page reads."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def array(its, index, kind):
    return np.frombuffer(base64.b64decode(its["arrays"][index]), dtype=kind)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return run(folder), run(folder, "second", 1.5)


@pytest.fixture(scope="module")
def alone(made):
    return report.html(made[:1])


@pytest.fixture(scope="module")
def both(made):
    return report.html(made)


def shown(page, histories):
    """What the page holds of each run, by key, as the legends name it."""
    its, charts = data(page), Document(page)
    titles = [attrs["title"] for attrs in charts.of("button") if "title" in attrs]
    lines = [line for chart in its["charts"] for line in chart["lines"]]
    assert len(titles) == len(lines)
    return {
        (title, line["run"]): (array(its, line["x"], "<f8"), array(its, line["y"], "<f4"))
        for title, line in zip(titles, lines, strict=True)
    }


@pytest.mark.parametrize("count", [1, 2])
def test_every_course_is_on_the_page_to_the_last_bit_of_a_float32(made, count):
    histories = made[:count]
    page = report.html(histories)
    found, singles = shown(page, histories), Document(page).texts
    edges = [key for key in made[0].series if "_lower/" in key or "_upper/" in key]
    for number, its in enumerate(histories):
        for key, logged in its.series.items():
            if key in edges:
                continue
            if len(logged.steps) == 1 or key.startswith("gradients/term_norm"):
                assert key in singles  # logged once, or never changed: in a table
                continue
            steps, values = found[key, number]
            assert np.array_equal(steps, logged.steps)
            assert np.array_equal(values, logged.values.astype("f4"), equal_nan=True)


def test_a_band_has_its_edges(alone):
    its = data(alone)
    (line,) = [line for chart in its["charts"] for line in chart["lines"] if line["lower"] is not None]
    assert set(array(its, line["lower"], "<f4")) == {4.0}
    assert set(array(its, line["upper"], "<f4")) == {7.0}


def test_positions_that_series_share_are_kept_once(alone):
    lines = [line for chart in data(alone)["charts"] for line in chart["lines"]]
    assert len(lines) > 10
    assert len({line["x"] for line in lines}) == 3  # every third step, evaluations, seconds


def test_every_section_with_something_in_it_is_there_and_what_no_panel_takes_comes_last(alone):
    titles = [
        text for text in Document(alone).texts if text in [section.title for section in SECTIONS] + ["Everything else"]
    ]
    assert titles[: len(titles) // 2] == titles[len(titles) // 2 :]  # the links above, the headings below
    assert titles[-1] == "Everything else"
    assert "temperature" in Document(alone).texts


def test_gaps_are_said_with_their_number_and_first_step(alone):
    assert "dice is NaN at 1 of 100 points, first at 150; these are gaps." in alone
    assert "focal is NaN or infinite at 16 of 100 points, first at 252; these are gaps." in alone


def test_the_reference_is_compared(alone, both):
    assert "test/iou 0.5, reference 0.5 ± 0.01: reached" in alone
    assert both.count("reference 0.5 ± 0.01: reached") == 2


def test_configurations_are_compared_those_keys_first_that_differ(both):
    differing, same = both.split("The same in all")
    assert "model.lr" in differing
    assert "0.15000000000000002" in differing
    assert "model.depth" in same
    assert "model.depth" not in differing


def test_runs_with_different_metrics_are_shown_each_with_what_it_has(tmp_path):
    first, second = (
        run(tmp_path),
        History("other", series={"val/accuracy": series(STEPS), "test/accuracy": series([0.9], [300])}),
    )
    page = report.html([first, second])
    found = shown(page, [first, second])
    assert ("val/accuracy", 1) in found
    assert ("val/accuracy", 0) not in found
    assert ("train/loss", 0) in found
    assert ("train/loss", 1) not in found
    row = re.search(r"<tr><th scope=\"row\">test/accuracy</th><td>(.*?)</td><td>(.*?)</td>", page)
    assert row.groups() == ("\u2013", "0.9")


def test_two_runs_of_one_name_are_told_apart(made):
    page = report.html([made[0], made[0]])
    assert {"first (1)", "first (2)"} <= {text.strip() for text in Document(page).texts}


def test_pictures_are_inside_the_page_and_no_wider_than_a_screen(alone):
    images = [attrs for attrs in Document(alone).of("img") if attrs.get("src")]
    assert [attrs["alt"] for attrs in images] == ["test/predictions at step 10", "test/predictions at step 200"]
    assert all(attrs["src"].startswith("data:image/webp;base64,") for attrs in images)
    assert {attrs["width"] for attrs in images} == {"1400"}


def test_a_picture_that_cannot_be_read_is_left_out(made, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n half of one")
    its = made[0]
    page = report.html(
        [
            History(
                "x",
                images=[
                    its.images[0],
                    its.images[0]._replace(path=broken),
                    its.images[1]._replace(path=tmp_path / "gone"),
                ],
            )
        ]
    )
    assert len([attrs for attrs in Document(page).of("img") if attrs.get("src")]) == 1


def test_of_each_table_the_last_is_shown_and_the_first_fifty_rows():
    tables = [
        Table("mine", step, ["row", "value"], [[f"r{i}", i / 3] for i in range(rows)])
        for step, rows in ((1, 1), (2, 53))
    ]
    texts = Document(report.html([History("x", tables=tables)])).texts
    assert [text for text in texts if text.startswith("mine")] == ["mine · step 2"]
    assert [text for text in texts if re.fullmatch(r"r\d+", text)] == [f"r{i}" for i in range(50)]
    assert {"0.3333", "16.33", "3 more rows."} <= set(texts)


def test_names_that_are_markup_are_text(tmp_path):
    page = report.html([hostile(tmp_path), run(tmp_path)])
    document = Document(page)
    assert len(document.of("script")) == 2
    assert not document.of("img", src="x")
    assert not [attrs for _, attrs in document.tags if "onerror" in attrs]
    assert "{{ 7*7 }}" in page
    assert HOSTILE.replace("\u202e\udcff", "\ufffd\ufffd") in "".join(document.texts)
    assert "\u202e" not in page  # which would turn around what follows


def test_only_the_scripts_own_hash_may_run(alone):
    (policy,) = [attrs["content"] for attrs in Document(alone).of("meta") if "http-equiv" in attrs]
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]+'", policy
    )


def test_nothing_is_loaded_from_elsewhere(alone):
    document = Document(alone)
    sources = [attrs[name] for _, attrs in document.tags for name in ("src", "srcset") if attrs.get(name)]
    assert all(source.startswith("data:") for source in sources)
    assert [attrs["href"] for attrs in document.of("link")] == ["data:,"]
    assert "@import" not in alone
    assert "url(" not in alone


def test_links_of_findings_lead_to_their_panels(tmp_path):
    its = run(tmp_path)
    page = report.html([its])
    document = Document(page)
    ids = {attrs["id"] for _, attrs in document.tags if "id" in attrs}
    targets = [attrs["href"][1:] for attrs in document.of("a") if attrs["href"].startswith("#")]
    assert len([target for target in targets if target.startswith("panel-")]) == 2  # the NaN, the conflict
    assert set(targets) <= ids
    assert len([attrs["id"] for _, attrs in document.tags if "id" in attrs]) == len(ids)


def test_pairs_are_found_though_names_hold_hyphens(made):
    found = matrix(made[0].series)
    assert found.names == ["dice-ce", "focal"]
    assert found.rows[0][1] == found.rows[1][0]
    assert found.rows[0][1].negative == 1.0
    assert found.rows[0][0].median is None


def test_a_pair_of_a_nested_loss_module_is_found():
    keys = {
        "gradients/term_norm/critic/real": 1.0,
        "gradients/term_norm/critic/fake": 1.0,
        "gradients/term_norm/real": 1.0,
        "gradients/cosine/critic/real-fake": 0.25,
    }
    found = matrix({key: series(value) for key, value in keys.items()})
    assert found.names == ["critic/real", "critic/fake"]
    assert found.rows[0][1].median == 0.25


def test_thinning_keeps_peaks_and_gaps():
    values = np.sin(np.arange(1e5))
    values[77_777], values[1234], values[50_000:50_500] = 9, np.nan, np.inf
    places = kept(values, most=1000)
    assert len(places) <= 1000 + 4
    assert {77_777, 1234} <= set(places)
    assert np.isinf(values[places]).sum() >= 3
    assert np.array_equal(places, np.unique(places))


def test_a_long_course_is_thinned_with_its_band_and_the_page_says_so():
    steps = np.arange(50_000.0)
    band = {"": 1.0, "_lower": 0.5, "_upper": 2.0}
    logged = {f"curvature/trace{edge}/total": series(factor * np.cos(steps), steps) for edge, factor in band.items()}
    page = report.html([History("long", series=logged)])
    its = data(page)
    (line,) = its["charts"][0]["lines"]
    x, y, upper = (array(its, line[name], kind) for name, kind in (("x", "<f8"), ("y", "<f4"), ("upper", "<f4")))
    assert 10_000 < len(x) <= 20_000
    assert np.allclose(y, np.cos(x))
    assert np.allclose(upper, 2 * np.cos(x))
    assert "Of 50,000 points of total, the peaks of 10,000 stretches are drawn." in page


def test_a_run_that_has_logged_nothing_has_a_page():
    page = report.html([History("empty", problems=["Nothing is logged yet."])])
    assert "Nothing is logged yet." in page
    assert "Nothing stands out." in page


@pytest.fixture
def reading_fails(monkeypatch):
    def _read(folder):
        raise AssertionError("the run was read")

    monkeypatch.setattr(report, "read", _read)


@pytest.mark.parametrize(
    ("out", "says"), [("missing/report.html", "No such file or directory"), (".", "it is a folder")]
)
def test_a_place_that_cannot_be_written_is_said_before_the_run_is_read(tmp_path, reading_fails, out, says):
    with pytest.raises(OSError, match=r"^The report .* cannot be written: ") as caught:
        report.write([tmp_path], tmp_path / out)
    assert says in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_does_not_exist_is_named(tmp_path, reading_fails, capsys):
    assert main(["dashboard", "report", str(tmp_path / "nowhere")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"There is no run in {tmp_path / 'nowhere'}" in err


def test_a_folder_without_a_log_says_what_was_looked_for_and_leaves_the_old_report(tmp_path, capsys):
    (tmp_path / "report.html").write_text("old")
    assert main(["dashboard", "report", str(tmp_path)]) == 2
    assert "There is no log of W&B or of a CSVLogger in" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "old")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished training of the toy, with a log of W&B."""
    folder = tmp_path_factory.mktemp("trained")
    wandb = "{class_path: lightning.pytorch.loggers.WandbLogger, init_args: {save_dir: '${run_dir}', offline: true}}"
    code = main(["fit", TOY, f"run_dir={folder}", f"trainer.logger={wandb}", "trainer.enable_progress_bar=false"])
    assert code == 0
    return folder


def test_fit_leaves_a_report_of_the_whole_run(trained):
    page = (trained / "report.html").read_text()
    for text in ("A line through points", "test/r2", "reference 0.95 ± 0.02: reached", "16"):
        assert text in page
    steps, _ = shown(page, [None])["val/r2", 0]
    logged = history.read(trained).series["val/r2"]
    assert np.array_equal(steps, logged.steps)
    assert len(steps) == 4
    assert "truncated" not in page


def test_fit_says_where_the_report_is(trained, capsys):
    assert main(["fit", TOY, f"run_dir={trained}", "trainer.enable_progress_bar=false"]) == 0
    assert f"report        {trained / 'report.html'}" in capsys.readouterr().out


def test_a_report_that_cannot_be_written_costs_no_training(tmp_path, capsys, monkeypatch):
    def _fail(run_dirs):
        raise OSError("No space left on device")

    monkeypatch.setattr(report, "write", _fail)
    assert main(["fit", TOY, f"run_dir={tmp_path}", "trainer.enable_progress_bar=false"]) == 0
    out = capsys.readouterr().out
    assert "No report is written: No space left on device\n" in out
    assert "test/r2" in out
    assert (tmp_path / "result.json").exists()


def test_a_truncated_log_is_shown_as_far_as_it_goes_and_said(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "killed")
    (folder / "result.json").unlink()
    (log,) = folder.glob("wandb/offline-run-*/*.wandb")
    log.write_bytes(log.read_bytes()[: log.stat().st_size * 2 // 3])
    page = report.write([folder]).read_text()
    assert re.search(r'<p class="problem">\s*The log is truncated', page)
    steps, _ = shown(page, [None])["val/r2", 0]
    assert 1 <= len(steps) < 4


def test_the_pages_files_are_installed():
    import tomllib

    root = Path(__file__).resolve().parents[1]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folder = root / "lightning_losses" / "dashboards" / "page"
    files = {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".py"}
    assert files == {
        path.name for pattern in patterns["lightning_losses.dashboards.page"] for path in folder.glob(pattern)
    }
    assert set(report.SCRIPTS) | set(report.STYLES) < files
    assert "Leon Sorokin" in (folder / "uPlot.LICENSE").read_text()
