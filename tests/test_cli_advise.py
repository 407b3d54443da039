"""`lightning-losses advise` on files of every kind, on the real sets beside the repository, and on mistakes."""

import gzip
import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lightning_losses import LossModule
from lightning_losses.cli import main

DATA = Path(__file__).parents[2] / "shared" / "data"
MNIST, BCCD, NUCLEI = DATA / "mnist", DATA / "bccd" / "BCCD", DATA / "dsb2018" / "stage1_train_small.zip"


def real(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"no {path.name} at ../shared/data")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def call(capsys):
    """Run `advise`; its exit code and what it printed."""

    def _call(*words):
        code = main(["advise", *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return _call


def table(name: str, **columns) -> Path:
    rows = zip(*columns.values(), strict=True)
    Path(name).write_text("\n".join(",".join(map(str, row)) for row in (columns, *rows)) + "\n")
    return Path(name)


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


def voc(name: str, boxes: list[tuple[str, list[int]]]) -> None:
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin><xmax>{b[2]}</xmax>"
        f"<ymax>{b[3]}</ymax></bndbox></object>"
        for label, b in boxes
    )
    size = "<size><width>64</width><height>48</height></size>"
    Path(name).write_text(f"<annotation>{size}{objects}</annotation>")


def masks(folder: str, count: int = 5, high: int = 1) -> None:
    Path(folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray((rng.random((24, 32)) < 0.3).astype(np.uint8) * high).save(f"{folder}/{index}.png")


def test_the_task_and_the_column_are_needed_where_nothing_tells(call) -> None:
    table("t.csv", a=range(40), b=range(40))
    assert call("t.csv", "--task", "regression")[2] == "lightning-losses: --column must be given, one of 'a', 'b'\n"
    code, out, err = call("t.csv", "--column", "a")
    assert (code, out) == (2, "")
    assert err.startswith("lightning-losses: --task must be given: classification, multilabel, ")


@pytest.mark.parametrize("form", ["npy", "npz", "pt", "csv", "idx", "idx.gz"])
def test_labels_of_every_form_are_the_same(call, form: str) -> None:
    labels = np.arange(300, dtype=np.uint8) % 3
    path = Path("labels-idx1-ubyte.gz" if form == "idx.gz" else "labels-idx1-ubyte" if form == "idx" else f"x.{form}")
    match form:
        case "npy":
            np.save(path, labels)
        case "npz":
            np.savez(path, labels=labels)
        case "pt":
            torch.save(torch.from_numpy(labels), path)
        case "csv":
            table(str(path), labels=labels)
        case "idx":
            path.write_bytes(idx(labels))
        case "idx.gz":
            path.write_bytes(gzip.compress(idx(labels)))
    code, out, err = call(path, *(() if form.startswith("idx") else ("--task", "classification")))
    assert (code, err) == (0, "")
    assert out.startswith("CLASSIFICATION: CrossEntropy\nNo evidence for anything but cross-entropy.\n")
    assert "300, of 3 classes" in out


def test_words_are_classes(call) -> None:
    table("t.csv", kind=["oak"] * 50 + ["ash"] * 40)
    _, out, _ = call("t.csv", "--task", "classification")
    assert out.startswith("Classes: 0 ash, 1 oak\n")


def test_several_columns_are_several_outputs(call) -> None:
    rng = np.random.default_rng(0)
    table("t.csv", a=rng.normal(size=200), b=rng.normal(size=200) * 100, c=rng.normal(size=200))
    assert call("t.csv", "--column", "a", "--column", "b", "--task", "regression")[1].startswith(
        "REGRESSION: MSE\n\nSeen"
    )
    assert "of 3 outputs" in call("t.csv", *(w for c in "abc" for w in ("--column", c)), "--task", "regression")[1]


def test_annotators_and_groups(call) -> None:
    rng = np.random.default_rng(0)
    table("votes.csv", **{name: rng.integers(3, size=90) for name in "abc"})
    columns = [word for name in "abc" for word in ("--column", name)]
    assert call("votes.csv", *columns, "--task", "classification", "--annotators")[1].startswith("CLASSIFICATION: KLD")
    table("lists.csv", query=np.repeat(np.arange(120), 5), relevance=np.tile(rng.permutation(5), 120))
    _, out, _ = call("lists.csv", "--column", "relevance", "--group", "query")
    assert out.startswith("RANKING: ListMLE")
    assert "5 to 5, median 5" in out


@pytest.mark.parametrize("place", ["file", "column"])
def test_predictions(call, place: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_cauchy(500)
    guess = truth + rng.normal(size=500)
    if place == "file":
        np.save("guess.npy", guess)
    table("t.csv", truth=truth, guess=guess)
    named = "guess.npy" if place == "file" else "guess"
    _, out, _ = call("t.csv", "--column", "truth", "--task", "regression", "--predictions", named)
    assert out.startswith("REGRESSION: MSE\n")
    assert "residuals" in out


def test_the_proposal_is_written_and_builds(call) -> None:
    np.save("y.npy", np.random.default_rng(0).standard_t(2, size=1000))
    code, out, _ = call("y.npy", "--task", "regression", "--intervals", "0.1", "0.9", "--out", "proposal.yaml")
    assert code == 0
    assert out.endswith("\nWritten to proposal.yaml.\n")
    text = Path("proposal.yaml").read_text()
    assert text.startswith("# There are outliers: share beyond 3.5 robust sigma")
    assert list(LossModule.from_config(yaml.safe_load(text)).terms) == ["fit", "interval"]
    again = call("y.npy", "--task", "regression", "--out", "proposal.yaml")
    assert again[2] == (
        "lightning-losses: 'proposal.yaml' exists already, and nothing is overwritten: give a new file.\n"
    )


@pytest.mark.parametrize("folder", ["m", "m/masks"])
def test_masks(call, folder: str) -> None:
    masks(folder)
    code, out, _ = call("m")
    assert code == 0
    assert out.startswith("SEGMENTATION: CrossEntropy\n")
    assert "images                        5" in out


def test_masks_of_255(call) -> None:
    masks("m", high=255)
    assert "give --ignore-index 255 for pixels that do not count, or --binary" in call("m")[2]
    foreground = np.mean([np.array(Image.open(path)) > 0 for path in Path("m").iterdir()])
    assert f"{1 - foreground:.2%}, {foreground:.2%}" in call("m", "--binary")[1]
    assert "100.00%, 0.00%" in call("m", "--ignore-index", "255")[1]


def test_boxes_of_pascal_voc_and_coco_are_the_same(call) -> None:
    Path("voc/Annotations").mkdir(parents=True)
    images, annotations = [], []
    for index in range(6):
        boxes = [("cat", [1, 2, 11, 14 + index]), ("ant", [5, 5, 9, 10])]
        voc(f"voc/Annotations/{index}.xml", boxes)
        images.append({"id": index, "height": 48, "width": 64})
        annotations += [
            {"image_id": index, "category_id": {"ant": 7, "cat": 9}[name], "bbox": [x, y, p - x, q - y]}
            for name, (x, y, p, q) in boxes
        ]
    annotations.append({"image_id": 0, "category_id": 7, "bbox": [0, 0, 9, 9], "iscrowd": 1})
    categories = [{"id": 9, "name": "cat"}, {"id": 7, "name": "ant"}]
    Path("c.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    code, out, _ = call("voc")
    assert code == 0
    assert out.startswith("Classes: 0 ant, 1 cat\nDETECTION: GIoU + SigmoidFocal\n")
    assert call("c.json") == (0, out, "")


MISTAKES = {
    "nothing there": (["none.csv"], "`DATA` must be a file or a folder that exists, found 'none.csv'."),
    "empty folder": (["."], "`DATA` must be a folder of masks (.png) or of Pascal VOC's annotations (.xml), found '.'."),
    "task": (["x.npy", "--task", "regresion"], "`task` must be one of 'classification', 'multilabel', 'ordinal', "),
    "format": (["x.txt"], "`x.txt` must be a table that can be read, found 'it is none of .npy, .npz, .pt, .csv, .json"),
    "no table": (["bad.npy"], "`bad.npy` must be a table that can be read, found "),
    "column": (["t.csv", "--column", "lable"], "t.csv has no column 'lable'. Did you mean 'label'?"),
    "row": (["short.csv"], "`short.csv` must be a table that can be read, found 'row 3 has 1 values, the header 2'."),
    "no rows": (["empty.csv"], "`empty.csv` must be a table that can be read, found 'it has no row below its header'."),
    "words": (["t.csv", "--column", "label", "--column", "word"], "`t.csv` must be numbers in all of several columns, "),
    "empty cell": (["gap.csv", "--column", "a", "--task", "regression"], "`gap.csv` must be without empty cells, found 'one in row 3'."),
    "words for numbers": (["t.csv", "--column", "word", "--task", "regression"], "regression needs numbers, found words such as 'a'."),
    "predictions": (["x.npy", "--task", "regression", "--predictions", "y"], "`--predictions` must be a file that exists, "),
    "option": (["x.npy", "--task", "regression", "--num-classes", "3"], "`num_classes` must be left out for regression, "),
    "no number": (["x.npy", "--num-classes", "three"], "argument --num-classes: invalid int value: 'three'"),
    "flag": (["x.npy", "--tsak", "regression"], "advise does not take '--tsak' (see lightning-losses advise --help)"),
    "no data": ([], "the following arguments are required: DATA (see lightning-losses advise --help)"),
    "bad voc": (["voc"], "`voc/a.xml` must be an annotation of Pascal VOC, found 'no bndbox/ymax'."),
    "bad coco": (["c.json"], "`c.json` must be annotations of COCO, found \"no 'images'\"."),
    "no image": (["m"], "`m/a.png` must be an image that can be read, found "),
    "colours": (["rgb"], "`rgb/a.png` must be a label map of one channel, found 'mode RGB'."),
}  # fmt: skip


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(call, words, message) -> None:
    np.save("x.npy", np.arange(30.0))
    Path("x.txt").write_text("1 2 3")
    Path("bad.npy").write_text("no array")
    table("t.csv", label=[0, 1], word=["a", "b"])
    Path("short.csv").write_text("a,b\n1,2\n3\n")
    Path("empty.csv").write_text("a,b\n")
    Path("gap.csv").write_text("a,b\n1,2\n,3\n")
    Path("c.json").write_text("{}")
    for folder in ("voc", "m", "rgb"):
        Path(folder).mkdir()
    Path("voc/a.xml").write_text(
        "<annotation><size><width>9</width><height>9</height></size><object><name>x</name><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>2</xmax></bndbox></object></annotation>"
    )
    Path("m/a.png").write_text("no image")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save("rgb/a.png")
    code, out, err = call(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"lightning-losses: {message}")


@real(MNIST)
def test_mnist_is_balanced(call) -> None:
    _, out, _ = call(MNIST / "train-labels-idx1-ubyte.gz")
    assert "No evidence for anything but cross-entropy." in out
    assert "60000, of 10 classes" in out
    assert "5421 to 6742" in out


@real(MNIST)
def test_images_are_no_labels(call) -> None:
    assert "it is none of" in call(MNIST / "t10k-images-idx3-ubyte.gz")[2]


@real(BCCD)
def test_blood_cells(call) -> None:
    _, out, _ = call(BCCD)
    assert out.startswith("Classes: 0 Platelets, 1 RBC, 2 WBC\nDETECTION: GIoU + SigmoidFocal\n")
    assert "4888 in 364 images" in out
    assert "2 boxes have no area" in out


@real(NUCLEI)
def test_nuclei(call) -> None:
    """Every twentieth image; objects that touch are one, so that there are somewhat fewer than masks."""
    from lightning_losses.recipes.segmentation.nuclei import by_id, read_nuclei

    Path("nuclei").mkdir()
    nuclei = 0
    with ZipFile(NUCLEI) as archive:
        files = by_id(archive.namelist())
        for name in sorted(files)[::20]:
            _, mask = read_nuclei(files[name]["images"][0], files[name]["masks"], archive.read)
            Image.fromarray(mask.numpy()).save(f"nuclei/{name}.png")
            nuclei += len(files[name]["masks"])
    _, out, _ = call("nuclei", "--out", "proposal.yaml")
    assert out.startswith("SEGMENTATION: CrossEntropy\nNo evidence for anything but cross-entropy.\n")
    from lightning_losses.advise import advise, reading

    found = advise(reading.read(Path("nuclei")).targets, "segmentation").evidence.objects
    assert 0.75 * nuclei < len(found) <= nuclei


@pytest.mark.parametrize(
    ("name", "task", "proposed"),
    [("diabetes", "regression", "MSE"), ("digits", "classification", "CrossEntropy"), ("wine", "classification", "CrossEntropy"), ("breast_cancer", "classification", "CrossEntropy")],
)  # fmt: skip
def test_the_sets_of_scikit_learn(call, name: str, task: str, proposed: str) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    np.save("y.npy", getattr(datasets, f"load_{name}")().target)
    _, out, _ = call("y.npy", "--task", task)
    assert out.startswith(f"{task.upper()}: {proposed}\nNo evidence for anything but ")
