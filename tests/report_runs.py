"""Runs made by hand for the report, and a browser to look at it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Canvas

from lightning_losses.dashboards.history import History
from lightning_losses.dashboards.segment import Image, Series, Table

STEPS = np.arange(0.0, 300.0, 3.0)
FALLING = np.exp(-STEPS / 100)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\udcff {{ 7*7 }} 💥"


def series(values, steps=STEPS) -> Series:
    return Series(np.asarray(steps, dtype=float), np.broadcast_to(np.asarray(values, dtype=float), np.shape(steps)))


def picture(folder: Path, key: str, step: int, width: int = 2000) -> Image:
    path = folder / f"{step}.png"
    Canvas.new("RGB", (width, 300), (step, 80, 120)).save(path)
    return Image(key, step, path)


def run(folder: Path, name: str = "first", factor: float = 1.0) -> History:
    """Something for every section: courses, a band, pairs, pictures, a gap, single values, keys of nobody."""
    logged = {
        "epoch": series(STEPS // 100),
        "train/loss": series(3 * factor * FALLING),
        "train/raw/dice": series(np.where(STEPS == 150, np.nan, factor * FALLING)),
        "train/raw/focal": series(np.where(STEPS > 250, -np.inf, 2 * factor * FALLING)),
        "val/loss": series(factor * np.array([3.0, 2.0, 1.0]), [99, 199, 299]),
        "test/iou": series([0.5 * factor], [300]),
        "losses/share/dice": series(0.3 + 0.1 * FALLING * factor),
        "losses/share/focal": series(0.7 - 0.1 * FALLING * factor),
        "gradients/norm/net.down": series(factor * FALLING),
        "gradients/norm/net.up": series(0.1 * factor * FALLING),
        "gradients/term_norm/dice-ce": series(1.0),
        "gradients/term_norm/focal": series(2.0),
        "gradients/cosine/dice-ce-focal": series(np.where(STEPS % 2, -0.6, -0.2)),
        "curvature/trace/total": series(factor * (5 + FALLING)),
        "curvature/trace_lower/total": series(factor * 4),
        "curvature/trace_upper/total": series(factor * 7),
        "system/cpu": series([10.0, 20.0, 30.0], [0, 15, 30]),
        "temperature": series(factor * np.sin(STEPS)),
    }
    config = {"recipe": {"title": f"Made {name}"}, "model": {"lr": 0.1 * factor, "depth": 3, "bias": None}}
    reference = {"metric": "test/iou", "value": 0.5, "tolerance": 0.01}
    result = {"recipe": "made", "size": "smoke", "metrics": {"test/iou": 0.5 * factor}, "reference": reference}
    images = [picture(folder, "test/predictions", step) for step in (10, 200)]
    confusion = Table(
        "test/confusion", 300, ["true class", "as cat", "as dog"], [["cat", 0.75, 0.25], ["dog", 0.0, 1.0]]
    )
    result |= {"minutes": 0.5, "command": "lightning-losses fit made"}
    return History(name, config, logged, images, [confusion], result)


def hostile(folder: Path) -> History:
    """A run whose every name is an attack."""
    made = run(folder)
    logged = {f"{key}/{HOSTILE}": its for key, its in made.series.items()}
    logged |= {f"gradients/term_norm/{HOSTILE}": series(1.0), f"gradients/cosine/{HOSTILE}-dice": series(-0.5)}
    images = [image._replace(key=HOSTILE) for image in made.images] + [made.images[0]._replace(key=f"test/{HOSTILE}")]
    config = {"recipe": {"title": HOSTILE}, HOSTILE: {"value": HOSTILE}}
    tables = [Table(HOSTILE, 300, [HOSTILE, "shares"], [[HOSTILE, 1.0], [None, float("nan")]])]
    return History(
        HOSTILE, config, logged, images, tables, {**made.result, "command": HOSTILE, "hardware": HOSTILE}, [HOSTILE]
    )


def long_runs(rows: int, keys: int) -> Iterator[tuple[str, Series]]:
    """Series of a long training that logs often."""
    steps, noise = np.arange(float(rows)), np.random.default_rng(0)
    for key in range(keys):
        yield f"train/raw/term{key}", Series(steps, np.exp(-steps / rows) + 0.1 * noise.normal(size=rows))
