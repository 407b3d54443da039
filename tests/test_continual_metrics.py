"""What the accuracy matrix says, exactly, and what is written of it."""

import csv

import pytest
import torch
from lightning.pytorch import Trainer

from lightning_losses.callbacks.continual.matrix import row_of, write
from lightning_losses.callbacks.continual.metrics import average_accuracy, backward_transfer, forgetting

# powers of two, so that sums are exact
MATRIX = [[0.5, 0.125, 0.0], [0.75, 1.0, 0.25], [0.25, 0.5, 0.875]]


def test_hand_made_matrix() -> None:
    assert average_accuracy(MATRIX) == (0.25 + 0.5 + 0.875) / 3
    assert backward_transfer(MATRIX) == ((0.25 - 0.5) + (0.5 - 1.0)) / 2
    assert forgetting(MATRIX) == ((0.75 - 0.25) + (1.0 - 0.5)) / 2  # the best of task 1 came with task 2


def test_only_tasks_that_have_ended_count() -> None:
    assert average_accuracy(MATRIX[:2]) == (0.75 + 1.0) / 2
    assert backward_transfer(MATRIX[:2]) == 0.25
    assert forgetting(MATRIX[:2]) == -0.25  # it has become better


def test_after_the_first_task_nothing_can_be_forgotten() -> None:
    assert (average_accuracy(MATRIX[:1]), backward_transfer(MATRIX[:1]), forgetting(MATRIX[:1])) == (0.5, 0.0, 0.0)


@pytest.mark.parametrize("measure", [average_accuracy, backward_transfer, forgetting])
def test_before_it_there_is_no_answer(measure) -> None:
    with pytest.raises(ValueError, match="`matrix` must have a row"):
        measure([])


def test_row_is_read_by_loader() -> None:
    metrics = {"val/accuracy/dataloader_idx_0": torch.tensor(0.5), "val/accuracy/dataloader_idx_1": torch.tensor(0.25)}
    assert row_of(metrics, "val/accuracy", 2) == [0.5, 0.25]
    assert row_of({"val/accuracy": torch.tensor(0.5)}, "val/accuracy", 1) == [0.5]


def test_metric_that_was_not_logged_is_named_with_the_nearest() -> None:
    metrics = {"val/accuracy/dataloader_idx_0": torch.tensor(0.5), "val/accuracy/dataloader_idx_1": torch.tensor(0.25)}
    with pytest.raises(ValueError, match=r"found 'val/acuracy'.*Did you mean 'val/accuracy'\?"):
        row_of(metrics, "val/acuracy", 2)
    with pytest.raises(ValueError, match="dataloader_idx_2' was not logged"):
        row_of(metrics, "val/accuracy", 3)


def test_files_hold_the_matrix(tmp_path) -> None:
    write(Trainer(logger=False, accelerator="cpu"), tmp_path, MATRIX[:2], 3, "val/accuracy")
    with (tmp_path / "tasks.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["after task", "task 1", "task 2", "task 3"]
    assert [[float(cell) for cell in row] for row in rows] == [[1, *MATRIX[0]], [2, *MATRIX[1]]]
    assert (tmp_path / "tasks.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"tasks.csv", "tasks.png"}
