"""The GAN recipe as a whole: every loss by name trains, and stopped and resumed ends like not stopped."""

import gzip
import hashlib
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10
from torchvision.io import ImageReadMode, read_image

from lightning_losses.callbacks import GradientNormMonitor, HessianTraceMonitor, NormalizedLossMonitor
from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.callbacks.random_state import RandomState
from lightning_losses.cli import main
from lightning_losses.recipes.gan.digits import DigitImages
from lightning_losses.recipes.gan.losses import OneSidedPenalty
from lightning_losses.recipes.gan.model import GAN
from lightning_losses.recipes.gan.published import Cifar10, IdxFolder
from lightning_losses.recipes.gan.samples import SampleGrid

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"
CSV = "trainer.logger={class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: run}}"
SMALL = ["model.channels=[4,4]", "model.lenet_steps=2", "data.batch_size=8", "data.eval_batch_size=50"]
BRIEF = ["trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
OF_R1 = {"loss": "R1", "weight": 0.1, "balanced": False}
OF_GP = {"loss": "GradientPenalty", "weight": 10.0, "balanced": False}
MATCHING = {"loss": "MSE", "inputs": {"input": "fake_features", "target": "real_features"}}
VALUES = {"loss": "GaussianNLL", "inputs": {"input": "value_predictions", "target": "values"}}


def gan(
    discriminator: dict | str = "LogisticDiscriminator", generator: dict | str = "NonSaturatingGenerator", **options
) -> GAN:
    terms = [terms if isinstance(terms, dict) else {"adversarial": terms} for terms in (discriminator, generator)]
    tiny = {"size": 8, "channels": (4, 4), "noise": 4, "norm": "none", "lenet_steps": 2}
    return GAN({"terms": terms[0]}, {"terms": terms[1], **options.pop("generator_options", {})}, **{**tiny, **options})


def run(
    root: Path, schedule: str, resume: Path | None = None, precision: str = "32-true", monitors: Sequence[Callback] = ()
) -> GAN:
    seed_everything(0 if resume is None else 99, verbose=False)  # what is resumed must not depend on the seed of now
    n_critic = 2 if schedule == "alternating" else 1
    model = gan(schedule=schedule, n_critic=n_critic, norm="batch", lr_decay="linear")
    data = DigitImages(train_images=40, val_images=10, test_images=10, size=8, batch_size=8, seed=1)
    every = ModelCheckpoint(root, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = Trainer(
        max_epochs=2, precision=precision, callbacks=[RandomState(), *monitors, *([every] if resume is None else [])],
        enable_checkpointing=resume is None, default_root_dir=root, **QUIET,
    )  # fmt: skip
    trainer.fit(model, data, ckpt_path=resume)
    return model


@pytest.mark.parametrize(
    ("schedule", "precision"), [("simultaneous", "32-true"), ("alternating", "32-true"), ("simultaneous", "bf16-mixed")]
)
def test_stopped_and_resumed_is_bit_equal(schedule: str, precision: str, tmp_path: Path) -> None:
    """Networks, average and balancers; in mid-epoch, and behind a step that was the discriminator's alone."""
    expected = run(tmp_path, schedule, precision=precision)
    resumed = run(tmp_path / "resumed", schedule, tmp_path / "step=3.ckpt", precision)
    torch.testing.assert_close(resumed.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert int(expected.average.n_averaged) == (5 if schedule == "alternating" else 10)


@pytest.mark.parametrize("schedule", ["simultaneous", "alternating"])
def test_monitors_leave_no_trace(schedule: str, tmp_path: Path) -> None:
    """The curvature's runs the step again, in which neither the average nor a learning rate may move."""
    trace = HessianTraceMonitor(every_n_steps=1)
    watched = run(
        tmp_path,
        schedule,
        monitors=[trace, GradientNormMonitor(), NormalizedLossMonitor(), SampleGrid(every_n_steps=1)],
    )
    torch.testing.assert_close(watched.state_dict(), run(tmp_path, schedule).state_dict(), rtol=0, atol=0)
    assert trace.latest["trace/total"][0] != 0
    assert len(list((tmp_path / "samples").iterdir())) == 10


@pytest.mark.parametrize("schedule", ["simultaneous", "alternating"])
@pytest.mark.parametrize(
    ("discriminator", "generator", "options"),
    [
        ("LogisticDiscriminator", "MinimaxGenerator", {"norm": "batch"}),
        ("LeastSquaresDiscriminator", "LeastSquaresGenerator", {}),
        ("HingeDiscriminator", "HingeGenerator", {"norm": "spectral"}),
        ({"adversarial": "WassersteinDiscriminator", "gp": OF_GP}, "WassersteinGenerator", {}),
        (
            {"adversarial": "WassersteinDiscriminator", "lp": {**OF_GP, "loss": "lightning_losses.recipes.gan.losses.OneSidedPenalty"}},
            "WassersteinGenerator",
            {},
        ),
        ({"adversarial": "LogisticDiscriminator", "dragan": OF_GP | {"inputs": ["perturbed", "perturbed_samples"]}}, "NonSaturatingGenerator", {}),
        ({"adversarial": "RelativisticDiscriminator", "r1": OF_R1, "r2": OF_R1 | {"loss": "R2"}}, "RelativisticGenerator", {"norm": "spectral"}),
        ("LogisticDiscriminator", {"adversarial": "NonSaturatingGenerator", "matching": MATCHING}, {"generator_options": {"balancer": "GradNorm"}}),
        (
            "LogisticDiscriminator",
            {"adversarial": "NonSaturatingGenerator", "code": "MutualInformation", "continuous": VALUES},
            {"categories": 3, "continuous": 2},
        ),
        ("HingeDiscriminator", "HingeGenerator", {"architecture": "resnet", "norm": "spectral"}),
    ],
    ids=["minimax", "least squares", "hinge", "wgan-gp", "wgan-lp", "dragan", "relativistic", "feature matching", "infogan", "resnet"],
)  # fmt: skip
def test_every_loss_moves_every_parameter(
    discriminator, generator, options: dict, schedule: str, tmp_path: Path
) -> None:
    """In mixed precision, where a penalty in bfloat16 would be a mismatch of types or noise."""
    seed_everything(0, verbose=False)
    model = gan(discriminator, generator, schedule=schedule, lr_generator=0.1, lr_discriminator=0.1, **options)
    for parameter in model.parameters():  # as large as it takes for no two samples to be on the same side of all ReLUs
        torch.nn.init.normal_(parameter, std=0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    data = DigitImages(train_images=16, val_images=2, test_images=2, size=8, batch_size=8)
    trainer = Trainer(
        max_steps=1,
        limit_val_batches=0,
        precision="bf16-mixed",
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        **QUIET,
    )
    trainer.fit(model, data)
    assert trainer.global_step == 1
    still = [name for name, p in model.named_parameters() if name in before and torch.equal(p, before[name])]
    assert [
        name for name in still if not name.endswith("last.bias")
    ] == []  # which a difference of logits does not know
    for criterion in (model.criterion_discriminator, model.criterion_generator):
        assert all(value.dtype == torch.float32 and value.isfinite() for value in criterion.report.raw.values())


def test_one_sided_penalty_is_that_of_steep_samples_alone() -> None:
    samples = torch.ones(3, 1, dtype=torch.float64, requires_grad=True)
    slopes = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    penalty = OneSidedPenalty(reduction="none")(slopes * samples[:, 0], samples)
    assert penalty.tolist() == [0, 0, 4]
    assert torch.autograd.grad(penalty.sum(), slopes)[0].tolist() == [0, 0, 4]


@pytest.mark.parametrize("size", ["default", "smoke", "full"])
@pytest.mark.parametrize(
    "command", [["gan"], ["gan/mnist", "data.root=somewhere"], ["gan/cifar10", "data.root=somewhere"]]
)
def test_every_configuration_is_valid(command: list[str], size: str, capsys) -> None:
    assert main(["validate-config", *command, "--size", size]) == 0, capsys.readouterr().err


def test_copied_recipe_trains_tests_and_draws(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["copy", "gan", "mine"]) == 0
    command = ["fit", "./mine", "--size", "smoke", "run_dir=run", *SMALL, *BRIEF, CSV, "trainer.max_epochs=1"]
    assert main(command) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "predictions.png").stat().st_size > 10_000
    grid = read_image(str(tmp_path / "run" / "samples" / "step-0000003.png"), ImageReadMode.RGB)
    assert grid.shape == (3, 2 * (8 * 29 + 1), 2 * (8 * 29 + 1))
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}
    assert "test/frechet_lenet" in capsys.readouterr().out
    assert main(["test", *command[1:]]) == 0, capsys.readouterr().err


def write_idx(root: Path, images: np.ndarray, labels: np.ndarray) -> None:
    for prefix in ("train", "t10k"):
        head = bytes((0, 0, 8, 3)) + struct.pack(">3I", *images.shape)
        (root / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        head = bytes((0, 0, 8, 1)) + struct.pack(">I", len(labels))
        (root / f"{prefix}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    digits = load_digits()
    write_idx(tmp_path, (digits.images[:20] * 15).astype(np.uint8), digits.target[:20].astype(np.uint8))
    return tmp_path


def test_idx_files_are_read_and_the_last_training_images_are_held_out(idx: Path) -> None:
    data = IdxFolder(str(idx), val_images=5, size=8)
    train, val, test = (data.make(split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (15, 5, 20)
    assert torch.equal(torch.cat([train.image, val.image]), test.image)
    assert test.label.tolist() == [*range(10), *range(10)]
    assert torch.equal(test.image[3, 0], torch.from_numpy(load_digits().images[3] * 15).byte())
    assert IdxFolder(str(idx), val_images=5, size=16).make("val").image.shape == (5, 1, 16, 16)


def test_broken_idx_files_are_named(idx: Path) -> None:
    data = IdxFolder(str(idx), val_images=5)
    labels = idx / "train-labels-idx1-ubyte"
    content = labels.read_bytes()
    for broken, said in [
        (content[:-3], "train-labels-idx1-ubyte` must be of 20 bytes after its head, for the shape .*, found 17"),
        (
            b"\x00\x00\x08\x03" + content[4:],
            "must be an IDX file of unsigned bytes with 1 dimensions, found '00 00 08 03'",
        ),
        (content[:4] + struct.pack(">I", 7) + content[8:15], "as many labels as train images \\(20\\), found 7"),
    ]:
        labels.write_bytes(broken)
        with pytest.raises(ValueError, match=said):
            data.make("train")
    images = idx / "t10k-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz` must be a file that can be read"):
        data.make("test")
    images.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"`data.root` must be a folder with t10k-images-idx3-ubyte or .*data.download=true"
    ):
        data.make("test")
    with pytest.raises(FileNotFoundError, match="`data.root` must be a folder that exists"):
        IdxFolder("nowhere").make("train")


def test_cifar10_is_read_plane_by_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As published: rows of the red pixels, then the green, then the blue ones."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(6, 3072), dtype=np.uint8)
    contents = {
        "data_batch_1": {"data": pixels[:4], "labels": [3, 1, 4, 1]},
        "test_batch": {"data": pixels[4:], "labels": [5, 9]},
        "batches.meta": {"label_names": ["a name"] * 10},
    }
    files = {name: pickle.dumps(content) for name, content in contents.items()}
    sums = {name: hashlib.md5(file).hexdigest() for name, file in files.items()}
    for name, file in files.items():
        (folder / name).write_bytes(file)
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    )
    data = Cifar10(str(tmp_path), val_images=1)
    train, val, test = (data.make(split) for split in ("train", "val", "test"))
    assert (train.label.tolist(), val.label.tolist(), test.label.tolist()) == ([3, 1, 4], [1], [5, 9])
    assert torch.equal(torch.cat([train.image, val.image, test.image]).flatten(1), torch.from_numpy(pixels))
    (folder / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match="`data.root` must be the folder of cifar-10-batches-py"):
        data.make("test")


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs MNIST beside the repository")
def test_mnist_is_read_as_published() -> None:
    data = IdxFolder(str(MNIST))
    assert data.make("train").label[:5].tolist() == [5, 0, 4, 1, 9]
    assert len(data.make("test")) == 10_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule": "turns"}, "`model.schedule` must be one of 'simultaneous', 'alternating'"),
        ({"n_critic": 5}, "`model.n_critic` must be 1 .*model.schedule=alternating"),
        ({"norm": "batch", "discriminator": {"adversarial": "LogisticDiscriminator", "r1": OF_R1}}, "`model.norm` must be 'spectral' or 'none'"),
        ({"norm": "layer"}, "`model.norm` must be one of"),
        ({"size": 10}, "`model.size` must be a multiple of 4"),
        ({"architecture": "dcgans"}, "`model.architecture` must be one of"),
        ({"architecture": "resnet", "norm": "batch"}, "`model.norm` must be one of 'spectral', 'none'"),
        ({"categories": 10}, "criterion_generator` must have a term that takes 'code"),
        ({"generator": {"adversarial": "NonSaturatingGenerator", "code": "MutualInformation"}}, "criterion_generator`: no input 'code"),
        ({"discriminator": {"fit": "MSE"}}, "criterion_discriminator`: no input"),
        ({"ema": 1.0}, "`model.ema` must be at least 0 and below 1"),
        ({"lr_generator": 0.0}, "`model.lr_generator` must be above 0"),
        ({"lr_decay": "cosine"}, "`model.lr_decay` must be one of"),
        ({"noise": 0}, "`model.noise` must be at least 1"),
        ({"generator": "HingeGenerators"}, "Did you mean 'HingeGenerator'"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_wrong_arguments_are_named(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        gan(**changes)


def test_a_decay_over_another_length_is_refused(tmp_path: Path) -> None:
    model = gan(lr_decay="linear")
    data = DigitImages(train_images=16, val_images=2, test_images=2, size=8, batch_size=8)
    options = {"limit_val_batches": 0, "default_root_dir": tmp_path, **QUIET}
    Trainer(max_epochs=1, **options).fit(model, data)
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    with pytest.raises(ValueError, match="decays over 2 steps, and the trainer now asks for 6"):
        Trainer(max_epochs=3, **options).fit(gan(lr_decay="linear"), data, ckpt_path=checkpoint)


def test_a_decay_over_a_training_without_end_is_refused(tmp_path: Path) -> None:
    data = DigitImages(train_images=16, val_images=2, test_images=2, size=8, batch_size=8)
    with pytest.raises(ValueError, match="`model.lr_decay` must be constant where the trainer has no end"):
        Trainer(max_epochs=-1, default_root_dir=tmp_path, **QUIET).fit(gan(lr_decay="linear"), data)


def test_parameters_of_half_precision_are_refused(tmp_path: Path) -> None:
    data = DigitImages(train_images=16, val_images=2, test_images=2, size=8, batch_size=8)
    with pytest.raises(IncompatibleError, match="does not work with trainer.precision=bf16-true.* take bf16-mixed"):
        Trainer(max_epochs=1, precision="bf16-true", default_root_dir=tmp_path, **QUIET).fit(gan(), data)


def test_checkpoint_is_all_it_takes_to_sample(tmp_path: Path, generator) -> None:
    model = run(tmp_path, "simultaneous").eval()
    z = torch.randn(2, 4, generator=generator)
    loaded = GAN.load_from_checkpoint(tmp_path / "step=10.ckpt").eval()
    assert torch.equal(loaded(z), model(z))
