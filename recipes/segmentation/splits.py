"""A split that needs no file: by position in the sorted names."""

from collections.abc import Collection, Iterable

from lightning_losses.checks import message

TEST_EVERY, VAL_EVERY = 5, 8


def split_names(names: Iterable[str], held_out: Collection[str] = ("val", "test")) -> dict[str, list[str]]:
    """Of the sorted names, those at index 0, 5, 10, ... are the test; of the rest, those at 0, 8, 16, ... validation.

    Args:
        names: in any order.
        held_out: which splits to take out of them; what is not held out is for training.

    Raises:
        ValueError: fewer than 3 names, too few for three splits.

    >>> {split: len(names) for split, names in split_names(map(str, range(535))).items()}
    {'train': 374, 'val': 54, 'test': 107}
    """
    names = sorted(names)
    if len(names) < 3:
        raise ValueError(message("data.root", "a place of at least 3 images, to be split", names))
    test = names[::TEST_EVERY] if "test" in held_out else []
    rest = sorted(set(names) - set(test))
    val = rest[::VAL_EVERY] if "val" in held_out else []
    return {"train": sorted(set(rest) - set(val)), "val": val, "test": test}
