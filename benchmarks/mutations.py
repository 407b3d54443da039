"""Would the tests notice? Each defect that the peers have, planted here, must make tests fail.

A copy of the package gets one defect at a time, and the tests that are named for it are run. A defect that no test
notices ends the command with exit code 1.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from _common import arguments, publish, table

ROOT = Path(__file__).parents[1]
PARITY, STEPS, BRANCHES = "tests/test_parity.py", "tests/test_loss_module_steps.py", "tests/test_branches.py"


@dataclass(frozen=True)
class Defect:
    """One planted defect, and where it should show."""

    name: str
    file: str
    right: str
    wrong: str
    tests: str
    only: str = ""


DEFECTS = [
    Defect(
        "average of norms over ranks instead of the norm of the average",
        "balancers/window.py",
        "products = self._probe.products(sum_over_ranks(self._gradients), parts, self.pairwise)",
        "products = (sum_over_ranks(self._probe.products(self._gradients, self._micro_batches, self.pairwise)"
        ".sqrt()) / world_size()).square()",
        PARITY,
        "gradnorm and ddp",
    ),
    Defect(
        "gradients of this rank only",
        "balancers/window.py",
        "self._probe.products(sum_over_ranks(self._gradients), parts",
        "self._probe.products(self._gradients, self._micro_batches",
        PARITY,
        "gradnorm-features and ddp",
    ),
    Defect(
        "losses of this rank only",
        "balancers/window.py",
        "sums, counts = sum_over_ranks(self._losses_and_counts)",
        "sums, counts = self._losses_and_counts",
        PARITY,
        "dwa and ddp",
    ),
    Defect(
        "gradients of the first micro-batch only",
        "balancers/window.py",
        "else self._gradients + sums\n        self._micro_batches += 1",
        "else self._gradients\n        self._micro_batches = 1",
        PARITY,
        "gradnorm-features and single",
    ),
    Defect(
        "of calls that share a backward, the last only",
        "balancers/window.py",
        "self._expected.append((probe, present))",
        "self._expected = [(probe, present)]",
        BRANCHES,
    ),
    Defect(
        "statistics rounded to float32",
        "numerics.py",
        "return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor",
        "return tensor.float()",
        PARITY,
        "gradnorm and single and 64",
    ),
    Defect(
        "forgotten unscale: the probe keeps its loss scale",
        "balancers/probe.py",
        "at_least_float32(g) / scale for g in found",
        "at_least_float32(g) * 1.0 for g in found",
        "tests/test_probe.py",
    ),
    Defect(
        "forgotten scale: float16 gradients as they come",
        "balancers/probe.py",
        "return self.scaler.scale(torch.full((), SCALER_MARGIN, device=self.tensors[0].device))",
        "return 1.0",
        STEPS,
        "too_small",
    ),
    Defect(
        "forgotten unscale: branches keep the total's scale",
        "balancers/branches.py",
        "return safe_divide(squares, scales.square())",
        "return squares",
        BRANCHES,
    ),
    Defect(
        "every micro-batch ends a step",
        "callbacks/loss_module_steps.py",
        "if not self._stepped or trainer.global_step == self._global_step:",
        "if not self._stepped:",
        PARITY,
        "(fixed or gradnorm) and single",
    ),
    Defect(
        "an overflow is taken for a step",
        "callbacks/loss_module_steps.py",
        "overflow = scale < self._scale",
        "overflow = False",
        STEPS,
        "overflow",
    ),
    Defect(
        "after an overflow the measured stays",
        "balancers/gradnorm.py",
        "self.window.discard()",
        "pass",
        STEPS,
        "overflow",
    ),
    Defect(
        "learned weights left out of the shards of FSDP2",
        "callbacks/loss_module_steps.py",
        "                _shard(trainer, criterion)\n",
        "                pass\n",
        PARITY,
        "uncertainty and fsdp2",
    ),
    Defect(
        "a probe of sharded parameters is let through",
        "callbacks/compatibility.py",
        "if criterion.shared is not None:",
        "if False:",
        PARITY,
        "gradnorm-parameters and fsdp2",
    ),
    Defect(
        "a static graph is let through",
        "callbacks/compatibility.py",
        'strategy._ddp_kwargs.get("static_graph")',
        "False",
        PARITY,
        "static",
    ),
    Defect(
        "a wholly compiled step is let through",
        "callbacks/compatibility.py",
        "if model._compiler_ctx is not None:",
        "if False:",
        PARITY,
        "gradnorm-features and whole and single",
    ),
    Defect(
        "compiled heads donate their buffers",
        "callbacks/loss_module_steps.py",
        "torch._functorch.config.donated_buffer = False",
        "pass",
        PARITY,
        "gradnorm-features and single",
    ),
    Defect(
        "a same-step Gramian is let through with micro-batches",
        "callbacks/compatibility.py",
        "not balancer.lagged and micro_batches > 1",
        "False",
        PARITY,
        "upgrad and single",
    ),
    Defect(
        "manual clipping of scaled gradients",
        "callbacks/manual.py",
        "* (scale or 1.0)",
        "* 1.0",
        PARITY,
        "fixed and manual and single",
    ),
    Defect(
        "manual accumulation without the division",
        "callbacks/manual.py",
        "model.manual_backward(loss / accumulate)",
        "model.manual_backward(loss)",
        PARITY,
        "fixed and manual and single",
    ),
    Defect(
        "a loss that steps with another optimizer",
        "callbacks/manual.py",
        "callback.release(criterion)",
        "pass",
        STEPS,
        "optimizer",
    ),
    Defect(
        "validation teaches the balancer",
        "module.py",
        "return self.training and torch.is_grad_enabled() and not is_transforming()",
        "return not is_transforming()",
        "tests/test_lightning.py",
        "sanity",
    ),
    Defect(
        "a cast to half precision rounds the statistics",
        "balancers/base.py",
        "if new.dtype != torch.promote_types(old.dtype, new.dtype):",
        "if False:",
        "tests/test_gradnorm.py",
    ),
    Defect(
        "the restoring force of gradnorm-pytorch, r to the power of -alpha",
        "balancers/gradnorm.py",
        "* priors * rates**alpha",
        "* priors * rates**-alpha",
        "tests/test_gradnorm.py",
    ),
    Defect(
        "a term from another's branch is let through",
        "module.py",
        "shared.check(values, losses)",
        "pass",
        BRANCHES,
    ),
]  # fmt: skip


def copy_of_the_package(folder: Path) -> None:
    """The package as it is installed, beside its tests."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lightning_losses", folder / "lightning_losses", ignore=ignore)
    for name in ("callbacks", "recipes"):
        shutil.copytree(ROOT / name, folder / "lightning_losses" / name, ignore=ignore)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=ignore)
    for name in ("pyproject.toml", "docs"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)


def failures(defect: Defect) -> list[str]:
    """The tests that notice a defect."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_of_the_package(folder)
        file = folder / "lightning_losses" / defect.file
        text = file.read_text()
        if (times := text.count(defect.right)) != 1:
            raise SystemExit(f"{defect.name}: {defect.right!r} occurs {times} times in {defect.file}, not once.")
        file.write_text(text.replace(defect.right, defect.wrong))
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", defect.tests]
        command += ["-k", defect.only] if defect.only else []
        environment = os.environ | {"PYTHONPATH": str(folder)}
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        return re.findall(r"^(?:FAILED|ERROR) tests/(\S.*?)(?: - .*)?$", run.stdout, flags=re.MULTILINE)


def main() -> int:
    options = arguments(__doc__, repeats=1)
    found = {}
    for number, defect in enumerate(DEFECTS, 1):
        found[defect.name] = failures(defect)
        print(f"{number}/{len(DEFECTS)} {defect.name}: {len(found[defect.name])} tests fail", flush=True)
    rows = [
        (name, len(tests), f"`{tests[0].replace('|', ' ')}`" if tests else "**none**") for name, tests in found.items()
    ]
    missed = [name for name, tests in found.items() if not tests]
    text = f"{len(found) - len(missed)} of {len(found)} defects are noticed.\n\n"
    text += table(["defect", "tests that fail", "the first of them"], rows)
    publish(options.output, "Would the tests notice a planted defect?", text, {"failures": found})
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
