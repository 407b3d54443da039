"""The order of training samples: seeded, split over ranks, resumable behind the last batch handed out."""

import pytest
import torch
from torch.utils.data import Dataset

from lightning_losses.recipes.sampling import ResumableData, ResumableLoader, ResumableSampler, seeded


class Echo(Dataset):
    """Gives back what it is asked for, and a random number."""

    def __len__(self):
        return 22

    def __getitem__(self, key):
        epoch, index = key
        with seeded(0, epoch, index):
            return epoch, index, torch.rand(())


def loader(num_workers=0) -> ResumableLoader:
    return ResumableData().resumable_loader(Echo(), batch_size=4, seed=3, num_workers=num_workers)


def batches(source) -> list:
    return [[column.tolist() for column in batch] for batch in source]


def epoch_of(source: ResumableLoader, epoch: int) -> list:
    source.sampler.set_epoch(epoch)
    return batches(source)


def test_ranks_share_an_epoch_without_overlap() -> None:
    draws = [list(ResumableSampler(range(22), seed=1, world_size=2, rank=rank)) for rank in (0, 1)]
    assert len(draws[0]) == len(draws[1]) == 11
    assert sorted(index for rank in draws for _, index in rank) == list(range(22))


def test_order_depends_on_seed_and_epoch_only() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ResumableSampler(range(22), seed=seed)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert order(0, 5) == order(0, 5)
    assert order(0, 5) != order(0, 6)
    assert order(0, 5) != order(7, 5)


@pytest.mark.parametrize("num_workers", [0, 2], ids=["in this process", "in two workers"])
@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_resumed_loader_gives_exactly_the_batches_that_are_left(num_workers: int, done: int) -> None:
    whole = epoch_of(loader(), epoch=2)
    first, second = loader(num_workers), loader(num_workers)
    first.sampler.set_epoch(2)
    iterator = iter(first)
    begun = [next(iterator) for _ in range(done)]  # the workers are ahead of this
    second.load_state_dict(first.state_dict())
    if done:
        assert first.state_dict() == {"epoch": 2, "batches": done}
    assert batches(begun) + epoch_of(second, epoch=2) == whole
    assert len(second) == len(whole)


def test_every_other_epoch_is_whole() -> None:
    resumed = loader()
    resumed.load_state_dict({"epoch": 2, "batches": 3})
    assert epoch_of(resumed, epoch=3) == epoch_of(loader(), epoch=3)
    assert epoch_of(resumed, epoch=2) == epoch_of(loader(), epoch=2)
    assert epoch_of(resumed, epoch=2) == epoch_of(loader(), epoch=2)


def test_epoch_is_read_at_the_first_batch() -> None:
    """Lightning makes the iterator of a resumed run before it tells the sampler its epoch."""
    late = loader()
    iterator = iter(late)
    late.sampler.set_epoch(4)
    assert batches(iterator) == epoch_of(loader(), epoch=4)


def test_seeded_leaves_the_random_state_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with seeded(1, 2, 3):
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)


def test_seeded_keys_are_not_summed() -> None:
    """Neighbouring samples and epochs must not share their random numbers."""
    drawn = []
    for key in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 2)]:
        with seeded(*key):
            drawn.append(torch.rand(()).item())
    assert len(set(drawn)) == 4


def test_too_large_a_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"`data.batch_size` must be at most 22, .* found 23"):
        ResumableData().resumable_loader(Echo(), batch_size=23, seed=0)


@pytest.mark.parametrize("made", ["before", "after"])
def test_data_module_restores_a_loader_made_before_or_after_the_checkpoint_is_read(made: str) -> None:
    data = ResumableData()
    if made == "after":
        data.load_state_dict({"epoch": 2, "batches": 3})
    source = data.resumable_loader(Echo(), batch_size=4, seed=3)
    if made == "before":
        data.load_state_dict({"epoch": 2, "batches": 3})
    assert data.state_dict() == {"epoch": 2, "batches": 3}
    assert epoch_of(source, epoch=2) == epoch_of(loader(), epoch=2)[3:]
