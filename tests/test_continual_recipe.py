"""The continual learning recipe as a whole: every size is valid, it trains, it says what is wrong."""

import csv
import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_losses.cli import main
from lightning_losses.recipes.continual.data import DigitTasks, MnistTasks
from lightning_losses.recipes.continual.images import Labelled, digits, idx_images
from lightning_losses.recipes.continual.model import ContinualClassifier
from lightning_losses.recipes.continual.sets import StreamSet, TaskSet
from lightning_losses.recipes.continual.streams import Permuted, Rotated, Split, make_stream

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"
CSV = "trainer.logger={class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: run}}"
BRIEF = ["model.hidden=[16]", "data.iterations=8", "data.tasks=2", CSV]
CRITERION = {"terms": {"task": {"loss": "CrossEntropy", "inputs": ["logits", "target"]}}}
SI = "{class_path: lightning_losses.callbacks.PathIntegral, init_args: {damping: 0.1}}"
LWF = [
    "model.criterion.terms={task: {loss: CrossEntropy, inputs: [logits, target]}, lwf: {loss: {class_path: Distillation, "
    "init_args: {temperature: 2.0}}, inputs: {input: student, target: teacher}, optional: true}}",
    "trainer.callbacks.0.init_args.consolidation="
    "{class_path: lightning_losses.callbacks.TeacherSnapshot, init_args: {module: network}}",
]


@pytest.mark.parametrize("size", ["default", "smoke", "full"])
@pytest.mark.parametrize(
    "command",
    [
        ["continual"],
        ["continual", f"trainer.callbacks.0.init_args.consolidation={SI}"],
        ["continual", *LWF],
        ["continual", "model.criterion.terms.ewc=null", "trainer.callbacks.0.init_args.consolidation=null"],
        ["continual/permuted_mnist", "data.root=somewhere"],
        ["continual/split_mnist", "data.root=somewhere"],
    ],
    ids=["EWC", "SI", "LwF", "none", "permuted MNIST", "split MNIST"],
)
def test_every_configuration_is_valid(command: list[str], size: str, capsys) -> None:
    assert main(["validate-config", *command, "--size", size]) == 0, capsys.readouterr().err


def test_copied_recipe_trains_and_tests(tmp_path: Path, monkeypatch, capsys) -> None:
    """The number that it ends with is that of the test's mean; the files are where the summary says."""
    monkeypatch.chdir(tmp_path)
    assert main(["copy", "continual", "mine"]) == 0
    command = ["fit", "./mine", "run_dir=run", *BRIEF]
    assert main(command) == 0, capsys.readouterr().err
    metrics = json.loads(Path("run/result.json").read_text())["metrics"]
    tasks = [metrics[f"test/accuracy/dataloader_idx_{task}"] for task in range(2)]
    assert metrics["test/average_accuracy"] == pytest.approx(sum(tasks) / 2)
    with Path("run/tasks.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["after task", "1", "2"]
    assert Path("run/tasks.png").stat().st_size > 10_000
    assert {path.name for path in Path("run/checkpoints").iterdir()} == {
        "final.ckpt",
        "final.previous.ckpt",
        "last.ckpt",
        "last.previous.ckpt",
    }
    capsys.readouterr()
    assert main(["test", *command[1:]]) == 0
    assert f"test/average_accuracy {metrics['test/average_accuracy']:.4f}" in capsys.readouterr().out


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs the files of MNIST beside the repository")
def test_it_learns_without_forgetting_by_distillation_on_mnist(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["fit", "continual/split_mnist", "--size", "smoke", f"data.root={MNIST}", "run_dir=run", *BRIEF, *LWF]
    assert main([*command, "data.tasks=5", "trainer.limit_test_batches=1"]) == 0, capsys.readouterr().err
    assert "test/average_accuracy" in capsys.readouterr().out


class TestStreams:
    def test_permutations_are_bijections_that_differ_by_task_and_seed(self) -> None:
        image = torch.arange(16.0).view(1, 4, 4)
        orders = [Permuted(3, seed=seed).seen(task, image).flatten().tolist() for seed in range(2) for task in range(3)]
        assert all(sorted(order) == list(range(16)) for order in orders)
        assert len({tuple(order) for order in orders}) == 6

    def test_split_gives_every_image_to_one_task(self) -> None:
        whole = digits("train")
        parts = [Split(5).part(task, whole) for task in range(5)]
        assert sum(len(part.labels) for part in parts) == len(whole.labels)
        assert all(set(part.labels.tolist()) == {0, 1} for part in parts)
        assert torch.equal(parts[2].images, whole.images[(whole.labels == 4) | (whole.labels == 5)])

    def test_a_quarter_turn_is_exact(self) -> None:
        images = digits("test").images
        turned = Rotated(2).seen(1, images)
        torch.testing.assert_close(turned, images.rot90(dims=(1, 2)), rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: make_stream("rotatet", 2, 10, 0), "`data.stream` must be one of"),
            (lambda: make_stream("split", 0, 10, 0), "`data.tasks` must be at least 1"),
            (lambda: Split(3), "`data.tasks` must be a divisor of the 10 classes"),
            (lambda: DigitTasks(scenario="tasks"), "`data.scenario` must be one of"),
            (lambda: DigitTasks(iterations=0), "`data.iterations` must be at least 1"),
            (lambda: MnistTasks("x", val_samples=0), "`data.val_samples` must be at least 1"),
        ],
    )
    def test_wrong_arguments_are_named(self, make, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            make()


class TestData:
    @pytest.mark.parametrize(("scenario", "labels"), [("task", {0, 1}), ("domain", {0, 1}), ("class", {4, 5})])
    def test_a_task_is_its_epochs_and_every_image_comes_as_often_as_another(self, scenario, labels) -> None:
        """Of task 2 in epochs 4 and 5: 100 images in each, from a task of fewer."""
        data = DigitTasks("split", scenario, tasks=5, epochs_per_task=2, iterations=10, batch_size=10)
        data.setup("fit")
        loader, seen = data.train_dataloader(), []
        for epoch in (4, 5):
            loader.sampler.set_epoch(epoch)
            for (images, tasks), target in loader:
                assert set(tasks.tolist()) == {2}
                assert set(target.tolist()) <= labels
                seen += [image.numpy().tobytes() for image in images]
        count = int(((digits("train").labels == 4) | (digits("train").labels == 5)).sum())
        assert len(seen) == 200
        assert len(set(seen)) == min(200, count)

    @pytest.mark.parametrize("stream", ["permuted", "rotated"])
    def test_images_are_kept_once_for_all_tasks(self, stream: str) -> None:
        data = DigitTasks(stream, "domain", tasks=3)
        data.setup("validate")
        kept = [loader.dataset.images.data_ptr() for loader in data.val_dataloader()]
        shown = [next(iter(loader))[0][0] for loader in data.val_dataloader()]
        assert len(set(kept)) == 1
        assert not any(torch.equal(one, other) for one, other in itertools.combinations(shown, 2))

    def test_less_than_a_pass_is_a_share_of_all_and_not_the_first_of_the_file(self) -> None:
        whole = Labelled(torch.arange(100.0).view(100, 1, 1), torch.arange(100) // 50)
        epochs = StreamSet([TaskSet(Split(1, classes=2), 0, whole)], 2, 40)
        (images, _), labels = epochs.__getitems__([(0, index) for index in range(40)])
        (others, _), _ = epochs.__getitems__([(1, index) for index in range(40)])
        assert 10 <= int(labels.sum()) <= 30
        assert len(torch.cat([images, others]).unique()) == 80

    @pytest.mark.parametrize("stream", ["permuted", "split", "rotated"])
    def test_a_rank_may_have_no_share(self, stream: str) -> None:
        assert make_stream(stream, 5, 10, 0).seen(1, torch.zeros(0, 8, 8)).shape == (0, 8, 8)

    def test_samples_are_the_same_whenever_they_are_asked_for(self) -> None:
        data = DigitTasks("split", tasks=5, eval_batch_size=20)
        data.setup("fit")
        (one, other) = ([images for (images, _), _ in data.task_samples(3, 50)] for _ in range(2))
        assert [len(images) for images in one] == [20, 20, 10]
        assert torch.equal(torch.cat(one), torch.cat(other))

    def test_a_label_out_of_range_and_a_task_without_images_are_named(self) -> None:
        with pytest.raises(ValueError, match="`data.classes` must be above 9, the greatest label, found 4"):
            DigitTasks("split", tasks=2, classes=4).setup("fit")
        with pytest.raises(ValueError, match="Task 6 of 6 has no image"):
            DigitTasks("split", tasks=6, classes=12).setup("fit")


class TestModel:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"classes": 1}, "`model.classes` must be at least 2"),
            ({"tasks": 0}, "`model.tasks` must be at least 1"),
            ({"scenario": "x"}, "`model.scenario` must be one of"),
            ({"lr": 0.0}, "`model.lr` must be above 0"),
        ],
    )
    def test_wrong_arguments_are_named(self, changes: dict, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            ContinualClassifier(**{"criterion": CRITERION, "pixels": 4, "classes": 2, "tasks": 2, **changes})

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            (["data.stream=split", "data.scenario=class"], "`model.classes` must be 5, as the tasks"),
            (["model.scenario=task"], "`model.scenario` must be domain, as the tasks"),
            (["model.tasks=3"], "`model.tasks` must be 2, as the tasks"),
            (["model.pixels=100"], "`model.pixels` must be 64, as the tasks"),
        ],
    )
    def test_another_shape_than_that_of_the_data_is_refused(self, changes, said, tmp_path, monkeypatch, capsys) -> None:
        monkeypatch.chdir(tmp_path)
        code = main(["fit", "continual", *BRIEF, "run_dir=run", "trainer.enable_progress_bar=false", *changes])
        assert code != 0
        assert said in capsys.readouterr().err

    def test_a_label_out_of_range_is_named(self) -> None:
        model = ContinualClassifier(CRITERION, pixels=4, classes=2, tasks=2, scenario="domain", hidden=())
        images, tasks = torch.rand(1, 2, 2), torch.zeros(1, dtype=torch.long)
        with pytest.raises(ValueError, match=r"`target` must be class indices in 0..1"):
            model.criterion(logits=model((images, tasks)), target=torch.tensor([2]))

    def test_each_image_is_answered_by_the_head_of_its_task(self) -> None:
        model = ContinualClassifier(CRITERION, pixels=4, classes=2, tasks=3, hidden=())
        images = torch.rand(2, 2, 2)
        outputs = model.network(images)
        assert torch.equal(model((images, torch.tensor([2, 0]))), torch.stack([outputs[0, 4:], outputs[1, :2]]))

    def test_an_anchor_of_another_architecture_is_refused(self) -> None:
        terms = {**CRITERION["terms"], "ewc": {"loss": "EWC", "inputs": ["model"], "balanced": False}}
        one, other = (
            ContinualClassifier({"terms": terms}, pixels=4, classes=2, tasks=1, hidden=(width,)) for width in (3, 5)
        )
        ewc = one.criterion.terms["ewc"].loss
        ewc.consolidate(one, {name: torch.ones_like(p) for name, p in one.named_parameters()})
        other.criterion.load_state_dict(one.criterion.state_dict())
        with pytest.raises(ValueError, match="Is it of another architecture"):
            other.criterion.terms["ewc"].loss(other)


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Four training and two test images of 2x3 pixels, some files packed."""
        for prefix, count in (("train", 4), ("t10k", 2)):
            images = np.arange(count * 6, dtype=np.uint8).tobytes()
            header = np.array([0x803, count, 2, 3], dtype=">i4").tobytes()
            (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images))
            labels = np.array([0x801, count], dtype=">i4").tobytes() + bytes(range(count))
            (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
        return tmp_path

    def test_they_are_read_and_the_last_are_held_out(self, folder: Path) -> None:
        train, val, test = (idx_images(folder, split, 1) for split in ("train", "val", "test"))
        assert (train.labels.tolist(), val.labels.tolist(), test.labels.tolist()) == ([0, 1, 2], [3], [0, 1])
        assert (val.images * 255).round().flatten().tolist() == list(range(18, 24))

    @pytest.mark.skipif(not MNIST.is_dir(), reason="needs the files of MNIST beside the repository")
    def test_those_of_mnist_are(self) -> None:
        test = idx_images(MNIST, "test", 5000)
        assert test.images.shape == (10000, 28, 28)
        assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
        assert test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

    @pytest.mark.parametrize(
        ("harm", "said"),
        [
            (lambda file: file.unlink(), "`data.root` must be a folder with train-labels-idx1-ubyte"),
            (lambda file: file.write_bytes(b""), "train-labels-idx1-ubyte` must be an IDX file"),
            (
                lambda file: file.write_bytes(file.read_bytes()[:-1]),
                "train-labels-idx1-ubyte` must be of 4 bytes after its head",
            ),
            (lambda file: file.with_suffix(".gz").write_bytes(b"x") and file.unlink(), "a file that can be read"),
        ],
        ids=["missing", "empty", "cut", "not packed"],
    )
    def test_what_is_wrong_with_them_is_said(self, folder: Path, harm, said: str) -> None:
        harm(folder / "train-labels-idx1-ubyte")
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            idx_images(folder, "train", 1)

    def test_too_many_held_out(self, folder: Path) -> None:
        with pytest.raises(ValueError, match="`data.val_samples` must be less than the 4 training images, found 4"):
            idx_images(folder, "val", 4)
