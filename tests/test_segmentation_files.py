"""Images from files: what is read, how it is split and augmented, and what is said about a file that is wrong."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_losses.recipes.segmentation.folder import ImageMaskFolder
from lightning_losses.recipes.segmentation.nuclei import Nuclei, by_id
from lightning_losses.recipes.segmentation.splits import split_names

NUCLEI = Path(__file__).parents[2] / "shared" / "data" / "dsb2018" / "stage1_train_small.zip"


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten images of 24 x 32 with masks of three classes."""
    rng = np.random.default_rng(0)
    for index in range(10):
        save(tmp_path / f"images/{index}.png", rng.integers(256, size=(24, 32, 3), dtype=np.uint8))
        save(tmp_path / f"masks/{index}.png", rng.integers(3, size=(24, 32), dtype=np.uint8))
    return tmp_path


def folder(root: Path, **changes) -> ImageMaskFolder:
    return ImageMaskFolder(**{"root": str(root), "num_classes": 3, "size": (16, 16), "batch_size": 2, **changes})


def test_folder_is_read_as_it_is(root: Path) -> None:
    data = folder(root)
    data.setup("test")
    image, mask = next(iter(data.test_dataloader()))
    assert torch.equal(image[0], torch.from_numpy(np.array(Image.open(root / "images/0.png"))).permute(2, 0, 1))
    assert torch.equal(mask[0], torch.from_numpy(np.array(Image.open(root / "masks/0.png"))).long())


def test_explicit_folders_leave_the_root_to_training(root: Path, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("test")
    save(other / "images/a.png", np.zeros((8, 8, 3), np.uint8))
    save(other / "masks/a.png", np.zeros((8, 8), np.uint8))
    data = folder(root, test_root=str(other), val_root=str(other))
    assert [len(data.read(split)) for split in ("train", "val", "test")] == [10, 1, 1]


def test_files_that_systems_hide_are_no_images(root: Path) -> None:
    (root / "images/._0.png").write_bytes(b"what macOS leaves")
    assert sum(len(folder(root).read(split)) for split in ("train", "val", "test")) == 10


def test_resize_keeps_labels(root: Path) -> None:
    image, mask = folder(root, resize=(12, 20)).read("val")[0]
    assert image.shape == (3, 12, 20)
    assert mask.shape == (12, 20)
    assert set(mask.unique().tolist()) <= {0, 1, 2}


def test_palette_images_are_label_maps(root: Path) -> None:
    labels = Image.fromarray(np.full((24, 32), 2, np.uint8), mode="P")
    labels.putpalette([index for index in range(256) for _ in range(3)][::-1])
    labels.save(root / "masks/0.png")
    assert folder(root).read("test")[0][1].unique().tolist() == [2]


def test_binary_masks(root: Path) -> None:
    save(root / "masks/0.png", np.array([[0, 255] * 16] * 24, np.uint8))
    mask = folder(root, binary=True, num_classes=2).read("test")[0][1]
    assert mask[0, :4].tolist() == [0, 1, 0, 1]


def test_ignored_label_may_exceed_the_classes(root: Path) -> None:
    save(root / "masks/0.png", np.full((24, 32), 255, np.uint8))
    assert folder(root, ignore_index=255).read("test")[0][1].unique().tolist() == [255]


def break_image(root: Path) -> None:
    (root / "images/0.png").write_bytes(b"no image")


def cut_image(root: Path) -> None:
    content = (root / "images/0.png").read_bytes()
    (root / "images/0.png").write_bytes(content[: len(content) // 2])


def drop_images(root: Path) -> None:
    for image in (root / "images").iterdir():
        image.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "images").rename(root / "pictures"), ["data.root", "images", "exists"]),
        (lambda root: (root / "masks").rename(root / "labels"), ["data.root", "masks", "exists"]),
        (drop_images, ["images", ".png", "none"]),
        (break_image, ["images/0.png", "an image that can be read"]),
        (cut_image, ["images/0.png", "an image that can be read"]),
        (lambda root: save(root / "images/0.png", np.zeros((24, 32), np.uint16)), ["images/0.png", "8 bits", "mode I;16"]),
        (lambda root: save(root / "images/5.jpg", np.zeros((24, 32, 3), np.uint8)), ["one image of each name", "5.jpg and 5.png"]),
        (lambda root: (root / "masks/5.png").unlink(), ["masks/5.png", "the mask of 5.png"]),
        (lambda root: save(root / "masks/0.png", np.zeros((24, 31), np.uint8)), ["masks/0.png", "(24, 32)", "(24, 31)"]),
        (lambda root: save(root / "masks/0.png", np.zeros((24, 32, 3), np.uint8)), ["masks/0.png", "one channel", "RGB"]),
        (lambda root: save(root / "masks/0.png", np.full((24, 32), 9, np.uint8)), ["masks/0.png", "0..2", "num_classes=3", "9"]),
    ],
    ids=["no images folder", "no masks folder", "no images", "no image", "half an image", "16 bits", "two of a name", "no mask", "size", "channels", "labels"],
)  # fmt: skip
def test_wrong_files_are_named(root: Path, damage, said: list[str]) -> None:
    damage(root)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        folder(root).setup("test")
    assert all(part in str(caught.value) for part in said), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda root: folder(root), lambda root: Nuclei(str(root))], ids=["folder", "nuclei"])
def test_missing_root_is_named(tmp_path: Path, make) -> None:
    with pytest.raises(FileNotFoundError, match=r"`data.root` must be .*nowhere"):
        make(tmp_path / "nowhere").setup("fit")


def test_split_is_a_partition_by_the_stated_rule() -> None:
    names = [f"{index:03}" for index in range(50)]
    splits = split_names(reversed(names))
    assert splits["test"] == names[::5]
    assert splits["val"] == [name for name in names if name not in names[::5]][::8]
    assert sorted(name for part in splits.values() for name in part) == names
    with pytest.raises(ValueError, match="at least 3 images"):
        split_names(["a", "b"])


def test_augmentation_is_a_function_of_epoch_and_index(root: Path) -> None:
    data = folder(root, seed=4)
    data.setup("fit")
    samples = data.train_dataloader().dataset
    torch.manual_seed(11)
    image, mask = samples[2, 1]
    torch.manual_seed(12)
    again, other = samples[2, 1], samples[3, 1]
    assert torch.equal(image, again[0])
    assert torch.equal(mask, again[1])
    assert not torch.equal(image, other[0])
    assert image.shape == (3, 16, 16)


def test_augmentation_moves_image_and_mask_together(root: Path) -> None:
    """With the label painted into the image, every crop and flip must keep them equal."""
    for path in (root / "masks").iterdir():
        labels = np.kron(np.array(Image.open(path))[::8, ::8], np.ones((8, 8), np.uint8))
        save(path, labels)
        save(root / "images" / path.name, np.repeat(labels[:, :, None] * 100, 3, axis=2))
    data = folder(root, jitter=0.0, vertical_flip=True, size=(24, 32), min_scale=0.9)
    data.setup("fit")
    agreement = [
        (image[0].float().div(100).round() == mask).float().mean()
        for image, mask in (data.train_dataloader().dataset[epoch, 0] for epoch in range(20))
    ]
    assert min(agreement) > 0.85  # interpolation blurs the borders between labels


def nucleus_files() -> dict[str, np.ndarray]:
    files = {}
    for name in "abcde":
        files[f"stage1_train/{name}/images/{name}.png"] = np.full((8, 8, 4), 200, np.uint8)
        for index in range(2):
            mask = np.zeros((8, 8), np.uint8)
            mask[index, :4] = 255
            files[f"stage1_train/{name}/masks/{index}.png"] = mask
    return files


@pytest.mark.parametrize("packed", [True, False], ids=["zip", "folder"])
def test_nuclei_foreground_is_the_union_of_masks(tmp_path: Path, packed: bool) -> None:
    for name, pixels in nucleus_files().items():
        save(tmp_path / name, pixels)
    place = tmp_path
    if packed:
        place = tmp_path / "nuclei.zip"
        with ZipFile(place, "w") as archive:
            for name in nucleus_files():
                archive.write(tmp_path / name, name)
    ((image, mask),) = Nuclei(str(place)).read("test")
    assert image.shape == (3, 8, 8)
    assert mask.nonzero().tolist() == [[row, column] for row in range(2) for column in range(4)]


def test_nuclei_without_masks_are_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="`a/masks` must be"):
        by_id(["a/images/a.png"])


@pytest.mark.skipif(not NUCLEI.exists(), reason="the nuclei are not at ../shared/data")
def test_nuclei_split_over_all_ids() -> None:
    with ZipFile(NUCLEI) as archive:
        files = by_id(archive.namelist())
    splits = split_names(files)
    assert len(files) == 535
    assert splits["test"] == sorted(files)[::5]
    assert {split: len(ids) for split, ids in splits.items()} == {"train": 374, "val": 54, "test": 107}
