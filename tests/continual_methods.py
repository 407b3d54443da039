"""What keeps the recipe's network from forgetting, as terms of its loss, and what ends its training in the middle."""

from typing import Any

from lightning.pytorch import Callback

TASK = {"loss": "CrossEntropy", "inputs": ["logits", "target"]}
LWF = {"loss": "Distillation", "inputs": {"input": "student", "target": "teacher"}, "optional": True}


def ewc(weight: float, mode: str = "online") -> dict[str, Any]:
    loss = {"class_path": "EWC", "init_args": {"mode": mode}}
    return {"loss": loss, "inputs": ["model"], "weight": weight, "balanced": False}


class Stop(Callback):
    """Ends a training after so many steps."""

    def __init__(self, after: int | None) -> None:
        self.after = after

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.after:
            raise InterruptedError
