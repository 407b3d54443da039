"""Annotated images from files: what is read, what is dropped, and what is said about a file that is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_losses.recipes.detection.assignment import NOTHING, uncounted
from lightning_losses.recipes.detection.boxes import Annotation, usable
from lightning_losses.recipes.detection.coco import read_coco
from lightning_losses.recipes.detection.folders import CocoFiles, VocFolder
from lightning_losses.recipes.detection.images import BoxedImages, augmentation
from lightning_losses.recipes.detection.voc import AnnotationError, read_voc

BCCD = Path(__file__).parents[2] / "shared" / "data" / "bccd" / "BCCD"
CLASSES = ["cat", "dog"]
HEIGHT, WIDTH = 40, 64


def xml(name: str, objects: list[tuple]) -> str:
    lines = ["<annotation>", f"<filename>{name}.png</filename>"]
    lines.append(f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>")
    for label, *corners in objects:
        box = "".join(
            f"<{end}>{value}</{end}>" for end, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        )
        lines += ["<object>", f"<name>{label}</name>", f"<bndbox>{box}</bndbox>", "</object>"]
    return "\n".join([*lines, "</annotation>"])


OBJECTS = [[("dog", 4, 6, 20, 30), ("cat", 30, 2, 60, 38)], [], [("cat", 0, 0, 10, 10)]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images as Pascal VOC and as COCO; the second has no object."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    coco = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]}
    for index, objects in enumerate(OBJECTS):
        pixels = np.full((HEIGHT, WIDTH, 3), 60 * index, np.uint8)
        for _, x1, y1, x2, y2 in objects:
            pixels[y1:y2, x1:x2] = 255
        Image.fromarray(pixels).save(tmp_path / f"JPEGImages/{index}.png")
        (tmp_path / f"Annotations/{index}.xml").write_text(xml(str(index), objects))
        coco["images"].append({"id": 10 + index, "file_name": f"{index}.png", "height": HEIGHT, "width": WIDTH})
        for label, x1, y1, x2, y2 in objects:
            category = {"cat": 7, "dog": 3}[label]
            box = [x1, y1, x2 - x1, y2 - y1]
            coco["annotations"].append({"image_id": 10 + index, "category_id": category, "bbox": box})
    crowd = {"image_id": 10, "category_id": 7, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    coco["annotations"].append(crowd)
    (tmp_path / "all.json").write_text(json.dumps(coco))
    for split in ("train", "val", "test"):
        (tmp_path / f"ImageSets/Main/{split}.txt").write_text("0\n1\n2\n")
    return tmp_path


def voc(root: Path, **changes) -> VocFolder:
    return VocFolder(**{"root": str(root), "class_names": CLASSES, "size": (HEIGHT, WIDTH), "batch_size": 1, **changes})


def coco(root: Path, **changes) -> CocoFiles:
    split = ("all.json", "JPEGImages")
    splits = {"train": split, "val": split, "test": split}
    return CocoFiles(**{"root": str(root), "class_names": CLASSES, "size": (HEIGHT, WIDTH), **splits, **changes})


@pytest.mark.parametrize(("make", "crowds"), [(voc, []), (coco, [[0, 0, 9, 9]])])
def test_images_and_boxes_are_read_as_they_are(root: Path, make, crowds: list) -> None:
    data = make(root)
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert batch.image.shape == (3, 3, HEIGHT, WIDTH)
    rest = [NOTHING for _ in crowds]
    assert batch.labels.tolist() == [
        [1, 0, *(uncounted(0) for _ in crowds)],
        [NOTHING, NOTHING, *rest],
        [0, NOTHING, *rest],
    ]
    assert batch.boxes[0].tolist() == [[4, 6, 20, 30], [30, 2, 60, 38], *crowds]
    assert batch.boxes[2].tolist() == [[0, 0, 10, 10], [0, 0, 0, 0], *([0, 0, 0, 0] for _ in crowds)]
    assert batch.image[0, 0, 6:30, 4:20].eq(255).all()


def test_crowds_and_what_is_difficult_are_neither_learnt_nor_counted(root: Path) -> None:
    file = root / "Annotations/0.xml"
    file.write_text(file.read_text().replace("<name>dog</name>", "<name>dog</name><difficult>1</difficult>"))
    assert read_voc(file, root, CLASSES).labels.tolist() == [uncounted(1), 0]
    assert read_coco(root / "all.json", root, CLASSES)[0].labels.tolist() == [1, 0, uncounted(0)]


def test_names_may_hold_spaces(root: Path) -> None:
    (root / "Annotations/0.xml").rename(root / "Annotations/my cell.xml")
    (root / "ImageSets/Main/spaced.txt").write_text("my cell\n\n")
    assert len(voc(root, test=["spaced"]).read("test")) == 1


def test_images_are_fitted_and_boxes_with_them(root: Path) -> None:
    image, boxes, _ = voc(root, size=(32, 96)).make("test")[0]
    assert image.shape == (3, 32, 96)
    assert boxes[0].tolist() == pytest.approx([3.2, 4.8, 16, 24])
    assert image[:, :, 52:].eq(0).all()  # 51.2 of the 96 columns are the image


def test_dirty_boxes_are_clipped_or_dropped_and_counted_once(root: Path) -> None:
    corners = [[5, 5, 5, 20], [30, 20, 10, 10], [64, 0, 80, 9], [-9, -9, 8, 8], [50, 30, 99, 99]]
    dirty = Annotation.of(Path("a.png"), (HEIGHT, WIDTH), corners, [0, 0, 0, 1, 0])
    clean = Annotation.of(Path("b.png"), (HEIGHT, WIDTH), [], [])
    with pytest.warns(UserWarning, match=r"Dropped 3 of 5 boxes of data.train .*\(a.png\)") as caught:
        first, second = usable([dirty, clean], "data.train")
    assert len(caught) == 1
    assert first.boxes.tolist() == [[0, 0, 8, 8], [50, 30, 64, 40]]
    assert first.labels.tolist() == [1, 0]
    assert second.boxes.shape == (0, 4)


def test_clean_boxes_are_not_worth_a_word(root: Path, recwarn) -> None:
    voc(root).setup("fit")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</annotation>", "", ["line 12", "no element found"]),
        ("<name>dog</name>", "<name>dgo</name>", ["line 4", "no class 'dgo'", "Did you mean 'dog'?"]),
        ("<name>cat</name>", "", ["line 8", "<object> has no <name>"]),
        ("<xmin>30</xmin>", "", ["line 8", "<object> has no <bndbox/xmin>"]),
        ("<xmin>30</xmin>", "<xmin>left</xmin>", ["line 10", "must be a number, found 'left'"]),
        ("<xmin>30</xmin>", "<xmin>nan</xmin>", ["line 10", "must be a number, found 'nan'"]),
        ("<height>40</height>", "", ["line 1", "no <size/height>"]),
        ("<filename>0.png</filename>", "", ["line 1", "no <filename>"]),
    ],
    ids=["cut", "unknown class", "no name", "no corner", "no number", "nan", "no size", "no image"],
)
def test_wrong_xml_is_named_with_its_line(root: Path, old: str, new: str, said: list[str]) -> None:
    file = root / "Annotations" / "0.xml"
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new))
    with pytest.raises(AnnotationError) as caught:
        read_voc(file, root, CLASSES)
    assert all(part in str(caught.value) for part in [str(file), *said]), caught.value


def entry(section: str, index: int, **changes):
    return lambda content: content[section][index].update(changes)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content.pop("images"), ["no list 'images'"]),
        (lambda content: content["annotations"][1].pop("bbox"), ["annotations[1]", "no 'bbox'"]),
        (entry("annotations", 2, bbox=[1, 2, 3]), ["annotations[2]", "four numbers, found [1, 2, 3]"]),
        (entry("annotations", 2, bbox=[1, 2, "3", 4]), ["annotations[2]", "four numbers"]),
        (entry("annotations", 0, bbox=[1, 2, float("nan"), 4]), ["annotations[0]", "four numbers"]),
        (entry("annotations", 0, image_id=99), ["annotations[0]", "no image_id 99"]),
        (entry("annotations", 0, category_id=99), ["annotations[0]", "no category_id 99"]),
        (entry("categories", 1, name="dgo"), ["no class 'dgo'", "Did you mean 'dog'?"]),
        (entry("images", 0, height="40"), ["images[0]", "'height'"]),
    ],
    ids=["no images", "no box", "three numbers", "text", "nan", "no image", "no category", "unknown class", "size"],
)
def test_wrong_json_is_named_with_its_entry(root: Path, damage, said: list[str]) -> None:
    content = json.loads((root / "all.json").read_text())
    damage(content)
    (root / "all.json").write_text(json.dumps(content))
    with pytest.raises(AnnotationError) as caught:
        read_coco(root / "all.json", root, CLASSES)
    assert all(part in str(caught.value) for part in [str(root / "all.json"), *said]), caught.value


@pytest.mark.parametrize(("text", "line"), [('{\n"images": [],\n"oh', 3), ("[]", 1)], ids=["cut", "a list"])
def test_what_is_no_json_of_coco_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AnnotationError, match=f"a.json, line {line}: "):
        read_coco(tmp_path / "a.json", tmp_path, CLASSES)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "Annotations").rename(root / "other"), ["data.root", "Annotations"]),
        (lambda root: (root / "Annotations/1.xml").unlink(), ["data.test", "1.xml"]),
        (lambda root: (root / "ImageSets/Main/test.txt").unlink(), ["data.test", "test.txt"]),
        (lambda root: (root / "JPEGImages/0.png").unlink(), ["0.png", "exists"]),
        (lambda root: (root / "JPEGImages/0.png").write_bytes(b"no"), ["0.png", "an image that can be read"]),
        (lambda root: Image.new("RGB", (9, 8)).save(root / "JPEGImages/0.png"), ["0.png", "(40, 64)", "(8, 9)"]),
    ],
    ids=["no folder", "no annotation", "no list", "no image", "broken image", "another size"],
)
def test_missing_files_are_named(root: Path, damage, said: list[str]) -> None:
    damage(root)
    with pytest.raises((FileNotFoundError, ValueError)) as caught:
        voc(root).make("test")[0]
    assert all(part in str(caught.value) for part in said), caught.value


def test_augmentation_moves_boxes_with_the_image_and_is_a_function_of_epoch_and_index(root: Path) -> None:
    annotations = voc(root).read("train")
    flips = augmentation(vertical_flip=True, jitter=0.0)
    images = BoxedImages(annotations, (HEIGHT, WIDTH), flips, seed=3)
    seen = set()
    for epoch in range(20):
        torch.manual_seed(epoch)
        first, again = images[epoch, 0], images[epoch, 0]
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        assert type(first.image) is type(first.boxes) is torch.Tensor
        for x1, y1, x2, y2 in first.boxes.int().tolist():
            assert first.image[:, y1:y2, x1:x2].eq(255).all()
        seen.add(tuple(first.boxes[0].tolist()))
    assert len(seen) == 4


@pytest.mark.skipif(not BCCD.is_dir(), reason="needs the blood cells of BCCD beside the repository")
def test_blood_cells_are_read_whole_but_for_two_boxes_without_area() -> None:
    data = VocFolder(str(BCCD), ["RBC", "WBC", "Platelets"], train=["train", "val"])
    with pytest.warns(UserWarning, match=r"Dropped 2 of \d+ boxes of data.train .*00343.jpg, BloodImage_00338.jpg"):
        train = usable(data.read("train"), "data.train")
    test = usable(data.read("test"), "data.test")
    assert (len(train), len(test)) == (292, 72)
    labels = np.concatenate([annotation.labels for annotation in train + test])
    assert len(labels) + 2 == 4155 + 372 + 361
