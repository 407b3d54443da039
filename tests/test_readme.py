"""What the README shows works as it stands there."""

import re
from pathlib import Path

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_example_trains_and_balances(tmp_path: Path) -> None:
    module, watched = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    names: dict = {"L": L, "nn": nn, "Trunk": lambda: nn.Conv2d(3, 64, 3, padding=1)}
    exec(module, names)
    exec(watched, names)
    monitors = [callback for callback in names["trainer"].callbacks if type(callback).__name__.endswith("Monitor")]

    class Model(names["Model"]):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    class Stop(L.Callback):
        def on_train_epoch_end(self, trainer, model):
            trainer.should_stop = True

    sample = {"image": torch.rand(3, 8, 8), "classes": torch.randint(10, (8, 8)), "depth": torch.rand(1, 8, 8)}
    trainer = L.Trainer(
        max_epochs=2000, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[*monitors, Stop()],
        log_every_n_steps=1,
    )  # fmt: skip
    model = Model()
    trainer.fit(model, DataLoader([sample] * 8, batch_size=2))
    assert {
        "train/loss",
        "train/raw/segment",
        "train/weight/depth",
        "train/normalized/segment",
        "curvature/trace/total",
        "curvature/lambda_max",
        "gradients/norm/trunk",
        "losses/normalized/depth",
    } <= trainer.callback_metrics.keys()
    assert float(model.criterion.report.weights["depth"]) != 2.0


def test_its_commands_set_everything_up_themselves() -> None:
    commands = [
        line
        for block in re.findall(r"```bash\n(.*?)```", README.read_text(), flags=re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(commands) == 2
    assert all(line.startswith("python3 -m venv .venv && .venv/bin/pip install") for line in commands)
