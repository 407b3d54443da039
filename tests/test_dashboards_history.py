"""What is read back of a run: all that its logger wrote, and of a damaged log all that is still there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from offline_log import framed, write_log

from lightning_losses.dashboards.history import History, read

STEP = "trainer/global_step"
ODD = 'odd "key" <b>ü</b>, x'


def rows(steps, shift: float = 0.0) -> list[dict[str, float]]:
    return [{STEP: step, "loss": step + shift, "epoch": step // 10} for step in steps]


def series(found: History, key: str) -> dict[float, float]:
    return dict(zip(found.series[key].steps, found.series[key].values, strict=True))


def numbers(found: History) -> dict[str, dict[float, float]]:
    return {key: series(found, key) for key in found.series if not key.startswith("system/")}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """What W&B itself and the CSVLogger have written of 300 rows, over several blocks."""
    root = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        logger = WandbLogger(save_dir=root, offline=True, project="p", name="<i>name</i>")
        table = CSVLogger(root, name="curves", flush_logs_every_n_steps=1000)
        logger.experiment.config.update({"model": {"lr": 0.1, "layers": [1, 2]}})
        for step in range(300):
            values = {f"key/{index}": step * index / 7 for index in range(20)} | {ODD: float(step)}
            values |= {0: {"loss": float("nan")}, 1: {"loss": float("inf")}, 2: {"loss": -float("inf")}}.get(
                step, {"loss": 1 / max(step, 1)}
            )
            logger.log_metrics(values, step=step)
            table.log_metrics(values, step=step)
        logger.log_metrics({"late": 1.0}, step=300)
        for step in 299, 300:
            logger.log_table("val/table", ["class", "share"], [["cat", 0.5], ["dog", float("nan")]], step=step)
        logger.log_image("val/picture", [np.zeros((4, 4, 3), dtype=np.uint8)], step=300)
        logger.experiment.log({"words": "text", "spread": wandb.Histogram([1, 2]), "yes": True})
        logger.experiment.finish()
        wandb.teardown()  # `finish` returns before all is written
        table.log_metrics({"late": 1.0}, step=300)
        table.save()
    return root


def test_log_is_read_as_wandb_reads_it(real) -> None:
    (folder,) = real.glob("wandb/offline-run-*")
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    items = [record["history"]["item"] for record in map(json.loads, lines) if record["type"] == "history"]
    theirs: dict[str, dict[float, float]] = {}
    for item in items:
        for key, value in item.items():
            number = (
                float(value) if isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity") else None
            )
            if (
                number is not None
                and not isinstance(value, bool)
                and not key.startswith(("_", STEP, "val/picture", "val/table", "spread"))
            ):
                theirs.setdefault(key, {})[item[STEP]] = number
    ours = numbers(read(folder))
    assert set(ours) == set(theirs)
    for key in theirs:
        np.testing.assert_array_equal([*ours[key]], [*theirs[key]])
        np.testing.assert_array_equal([*ours[key].values()], [*theirs[key].values()])


def test_wandb_and_csv_tell_the_same(real) -> None:
    ours, table = numbers(read(next(real.glob("wandb/offline-run-*")))), numbers(read(real / "curves" / "version_0"))
    assert set(ours) == set(table)
    for key in table:
        np.testing.assert_allclose([*ours[key].values()], [*table[key].values()], rtol=1e-12)


def test_names_configuration_and_pictures_are_there(real) -> None:
    found = read(real)
    assert found.problems == []
    assert found.config == {"model": {"lr": 0.1, "layers": [1, 2]}}
    (picture,) = found.images
    assert (picture.key, picture.step) == ("val/picture", 300)
    assert picture.path.read_bytes().startswith(b"\x89PNG")
    assert [(table.key, table.step, table.columns) for table in found.tables] == [
        ("val/table", 299, ["class", "share"]),
        ("val/table", 300, ["class", "share"]),
    ]
    assert repr(found.tables[0].rows) == "[['cat', 0.5], ['dog', nan]]"
    assert any(key.startswith("system/") for key in found.series)


def test_a_table_whose_file_is_damaged_is_named_and_left_out(real, tmp_path) -> None:
    shutil.copytree(real, tmp_path / "copy")
    first, second = sorted(tmp_path.glob("copy/wandb/offline-run-*/files/media/table/val/*.json"))
    first.write_text(first.read_text()[:-9])
    second.unlink()
    found = read(tmp_path / "copy")
    assert found.tables == ()
    assert [problem.partition(" cannot be read")[0] for problem in found.problems] == [
        "The table val/table of step 299",
        "The table val/table of step 300",
    ]


def test_of_a_truncated_log_everything_before_its_end_is_shown(real, tmp_path) -> None:
    (path,) = real.glob("wandb/offline-run-*/run-*.wandb")
    data, whole = path.read_bytes(), numbers(read(path.parent))
    assert len(data) > 3 * 32 * 1024
    steps = []
    for cut in np.linspace(10_000, len(data) - 1, 12).astype(int):
        (tmp_path / path.name).write_bytes(data[:cut])
        found = read(tmp_path)
        problem = found.problems[-1]  # the only one, but for the last cut: its picture is not here
        for key, values in numbers(found).items():
            np.testing.assert_array_equal([*values.values()], [*whole[key].values()][: len(values)])
        steps.append(int(max(numbers(found)["loss"])))
        assert problem.startswith(
            f"The log is truncated after step {max(steps[-1], *map(max, numbers(found).values())):g}:"
        )
    assert steps == sorted(steps)
    assert steps[0] < 40
    assert steps[-1] == 299


def test_of_a_damaged_log_a_block_at_most_is_lost(tmp_path) -> None:
    path = write_log(tmp_path / "offline-run-a", rows(range(3000)))
    data = bytearray(path.read_bytes())
    data[100_000] ^= 1
    path.write_bytes(data)
    found = read(path.parent)
    assert len(found.problems) == 1
    assert "is damaged" in found.problems[0]
    missing = sorted(set(range(3000)) - set(series(found, "loss")))
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert 0 < len(missing) < 32 * 1024 // 60


def test_a_resumed_run_is_one_and_what_was_lost_did_not_happen(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("model: {lr: 0.1}\n")
    folder = tmp_path / "wandb"
    write_log(folder / "offline-run-20260101_000000-aaaaaaaa", rows(range(9, 130, 10)), start=1000, ended=False)
    write_log(
        folder / "offline-run-20260101_010000-bbbbbbbb", rows(range(89, 160, 10), shift=0.5), start=4600, ended=False
    )
    write_log(folder / "offline-run-20260102_000000-cccccccc", rows(range(139, 200, 10), shift=0.25), start=9000)
    found = read(tmp_path)
    assert found.problems == []
    assert found.config == {"model": {"lr": 0.1}}
    assert series(found, "loss") == {
        **{step: step for step in range(9, 80, 10)},
        **{step: step + 0.5 for step in range(89, 130, 10)},
        **{step: step + 0.25 for step in range(139, 200, 10)},
    }


def test_tables_of_a_resumed_run_are_one(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("model: {lr: 0.1}\n")
    for version, text in {
        2: "step,loss\n29,2\n39,\n39,3\n",
        10: "loss,other,step\n30,,39\n40,7.5,49\n",
        1: "step,loss\n9,0\n29,1\n",
    }.items():
        folder = tmp_path / "curves" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(text)
    found = read(tmp_path)
    assert series(found, "loss") == {9: 0, 29: 2, 39: 30, 49: 40}
    assert series(found, "other") == {49: 7.5}


def test_runs_that_merely_share_a_folder_are_not_joined(tmp_path) -> None:
    for number in range(3):
        write_log(
            tmp_path / "wandb" / f"offline-run-2026010{number}_000000-aaaaaaa{number}", rows(range(20), shift=number)
        )
    found = read(tmp_path)
    assert series(found, "loss") == {step: step + 2 for step in range(20)}
    assert found.problems == [
        f"2 earlier runs are left out; the folder shown is {tmp_path}/wandb/offline-run-20260102_000000-aaaaaaa2."
    ]


def test_without_a_mark_a_log_that_begins_later_goes_on(tmp_path) -> None:
    write_log(tmp_path / "wandb" / "offline-run-20260101_000000-aaaaaaaa", rows(range(20)), name="x", ended=False)
    write_log(tmp_path / "wandb" / "offline-run-20260102_000000-bbbbbbbb", rows(range(15, 30), shift=1), name="x")
    found = read(tmp_path)
    assert series(found, "loss") == {step: step + (step >= 15) for step in range(30)}
    assert found.problems == []


def test_a_run_that_was_resumed_and_has_not_logged_since_is_shown(tmp_path) -> None:
    write_log(tmp_path / "wandb" / "offline-run-20260101_000000-aaaaaaaa", rows(range(20)), ended=False)
    write_log(tmp_path / "wandb" / "offline-run-20260102_000000-aaaaaaaa", [], ended=False)
    found = read(tmp_path)
    assert series(found, "loss") == {step: step for step in range(20)}
    assert found.problems == ["The log is truncated after step 19: the run was killed, or is still going."]


def test_logs_of_one_id_are_one_run(tmp_path) -> None:
    write_log(tmp_path / "wandb" / "offline-run-20260101_000000-aaaaaaaa", rows(range(20)), ended=False)
    write_log(tmp_path / "wandb" / "run-20260102_000000-aaaaaaaa", rows(range(10), shift=1))
    found = read(tmp_path)
    assert series(found, "loss") == {step: step + 1 for step in range(10)}  # started again from the first step
    assert found.problems == []


def test_the_log_that_holds_more_is_shown(tmp_path) -> None:
    write_log(tmp_path / "wandb" / "offline-run-20260101_000000-aaaaaaaa", rows(range(3)), ended=False)
    (tmp_path / "curves" / "version_0").mkdir(parents=True)
    (tmp_path / "curves" / "version_0" / "metrics.csv").write_text("step,loss,epoch\n0,0,0\n1,1,0\n2,2,0\n3,3,0\n")
    assert series(read(tmp_path), "loss") == {0: 0, 1: 1, 2: 2, 3: 3}


def test_the_result_of_a_finished_run_comes_with_it(tmp_path) -> None:
    write_log(tmp_path / "wandb" / "offline-run-20260101_000000-aaaaaaaa", rows(range(3)))
    (tmp_path / "result.json").write_text('{"metrics": {"test/iou": 0.5}}')
    assert read(tmp_path).result["metrics"] == {"test/iou": 0.5}
    (tmp_path / "result.json").write_text('{"metrics": ')
    found = read(tmp_path)
    assert found.result == {}
    assert found.problems[0].startswith(f"{tmp_path}/result.json cannot be read: ")


def test_a_picture_that_is_gone_is_named(tmp_path) -> None:
    picture = {"_type": "image-file", "path": "media/images/gone.png"}
    path = write_log(tmp_path / "offline-run-bbbbbbbb", [{STEP: 7, "loss": 1.0, "val/x": picture}])
    found = read(path.parent)
    assert found.images == ()
    assert found.problems == [f"The picture val/x of step 7 is missing: {path.parent}/files/media/images/gone.png."]


def test_a_row_that_was_being_written_is_left_out(tmp_path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n1,0.5\n2,0.1234")
    found = read(tmp_path)
    assert series(found, "loss") == {1: 0.5}
    assert found.problems == [f"The last row of {tmp_path}/metrics.csv is not whole, and left out: the run was killed."]


@pytest.mark.parametrize("ended", [True, False])
def test_a_run_that_has_not_logged_yet_says_so(tmp_path, ended) -> None:
    found = read(write_log(tmp_path / "offline-run-aaaaaaaa", [], ended=ended).parent)
    assert found.series == {}
    assert found.problems == ["Nothing is logged yet."]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "There is no folder"),
        ({}, "There is no log of W&B or of a CSVLogger in"),
        ({"run-a.wandb": b"GIF89a"}, "run-a.wandb is no log of W&B."),
        ({"run-a.wandb": b""}, "run-a.wandb is no log of W&B."),
        ({"metrics.csv": b"a,b\n1,2\n"}, "must be a table with a column 'step', found ['a', 'b']."),
        ({"metrics.csv": b""}, "must be a table with a column 'step', found None."),
        ({"metrics.csv": b"step,loss\n1,two\n"}, "could not convert string to float: 'two'"),
    ],
)
def test_what_is_no_run_is_refused_in_a_sentence(tmp_path, files, words) -> None:
    folder = tmp_path / "run"
    for name, data in (files or {}).items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    if files == {}:
        folder.mkdir()
    with pytest.raises(FileNotFoundError) as error:
        read(folder)
    assert words in str(error.value)


def test_a_record_that_is_not_one_of_wandb_is_an_error_that_names_the_file(tmp_path) -> None:
    (tmp_path / "run-a.wandb").write_bytes(framed([b"\xff\xff\xff"]))
    with pytest.raises(FileNotFoundError, match=r"run-a\.wandb holds a record that the installed wandb cannot read"):
        read(tmp_path)
