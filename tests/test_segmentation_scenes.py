"""Scenes of digits: pure functions of their key, made of disjoint handwriting, labelled right."""

import numpy as np
import pytest
import torch

from lightning_losses.recipes.data import SPLITS
from lightning_losses.recipes.handwriting import handwriting, sources
from lightning_losses.recipes.segmentation.digits import DigitScenes, SceneSet, draw_scene


def same(a, b) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_scene_is_a_function_of_its_key() -> None:
    one, other = SceneSet("train", 10, seed=5), SceneSet("train", 10, seed=5)
    scene = one[3, 7]
    torch.manual_seed(1)
    np.random.seed(1)
    assert same(other[3, 7], scene)
    assert same(one[7], one[0, 7])


@pytest.mark.parametrize(
    ("split", "seed", "key"), [("train", 5, (4, 7)), ("train", 5, (3, 8)), ("train", 6, (3, 7)), ("val", 5, (3, 7))],
    ids=["epoch", "index", "seed", "split"],
)  # fmt: skip
def test_every_part_of_the_key_counts(split: str, seed: int, key: tuple[int, int]) -> None:
    assert not same(SceneSet(split, 10, seed=seed)[key], SceneSet("train", 10, seed=5)[3, 7])


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_share_no_handwriting(seed: int) -> None:
    pools = [set(sources(split, seed).tolist()) for split in SPLITS]
    assert sum(map(len, pools)) == len(set.union(*pools)) == len(handwriting()[1])
    assert all(set(handwriting()[1][list(pool)].tolist()) == set(range(10)) for pool in pools)


def test_scene_is_made_of_the_pool_alone() -> None:
    threes = (handwriting()[1] == 3).nonzero().flatten()
    labels = torch.stack([draw_scene(np.random.default_rng(index), threes)[1] for index in range(20)])
    assert labels.unique().tolist() == [0, 4]


def test_all_classes_appear_and_no_other() -> None:
    scenes = SceneSet("test", 100)
    masks = torch.stack([scenes[index][1] for index in range(100)])
    assert masks.unique().tolist() == list(range(11))
    assert 0.05 < (masks > 0).float().mean() < 0.5


def test_mask_lies_on_the_ink() -> None:
    """Inside and outside of a digit differ in brightness, on dark and on light paper."""
    scenes = SceneSet("train", 50)
    for index in range(50):
        image, mask = scenes[index]
        brightness = image.float().mean(0)
        assert (brightness[mask > 0].mean() - brightness[mask == 0].mean()).abs() > 30


def test_loaders_have_the_sizes_asked_for() -> None:
    data = DigitScenes(train_scenes=10, val_scenes=3, test_scenes=5, size=32, batch_size=4, eval_batch_size=2)
    data.setup("fit")
    data.setup("test")
    image, mask = next(iter(data.train_dataloader()))
    assert (image.shape, image.dtype) == ((4, 3, 32, 32), torch.uint8)
    assert (mask.shape, mask.dtype) == ((4, 32, 32), torch.int64)
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [len(loader) for loader in loaders] == [2, 2, 3]
