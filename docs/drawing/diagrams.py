"""What a LossModule does to a batch, where gradients are measured, and what the law of parity says."""

from drawing.canvas import Canvas
from drawing.style import BLUE, GREEN, GREY, ORANGE, PICTURES


def flow() -> None:
    """From a call to the scalar, and what hears of it."""
    canvas = Canvas(860, 310)
    canvas.box(75, 125, 130, 76, "the call", "logits, target,", "metres, truth")
    for y, name, loss in (
        (50, "segment", "Dice + cross-entropy"),
        (125, "depth", "smooth absolute error"),
        (200, "size", "a function of yours"),
    ):
        canvas.box(280, y, 180, 52, name, loss, color=BLUE)
        canvas.arrow((140, 125), (188, y))
        canvas.arrow((370, y), (462, 125))
    canvas.box(545, 125, 160, 76, "balancer", "weights w, not", "differentiated", color=ORANGE)
    canvas.box(765, 125, 160, 76, "total", "w₁L₁ + w₂L₂ + w₃L₃", "return it", color=GREEN)
    canvas.arrow((625, 125), (683, 125))
    canvas.box(517, 281, 656, 42, "report: raw, weights, weighted, normalized", color=GREY)
    for x, y in ((280, 226), (545, 163), (765, 163)):
        canvas.arrow((x, y), (x, 258), dashed=True)
    canvas.write(PICTURES / "flow.svg")


def places() -> None:
    """The three places where a balancer can measure."""
    canvas = Canvas(860, 330)
    for y, how, place in (
        (55, "shared='neck'", 0),
        (165, "shared=features", 1),
        (275, "shared=branches", 2),
    ):
        canvas.text(10, y - 32, how, anchor="start", bold=True)
        canvas.box(95, y + 8, 110, 40, "trunk")
        canvas.box(250, y + 8, 110, 40, "neck", color=ORANGE if place == 0 else "#1f2937")
        canvas.box(435, y + 8, 120, 40, "features", color=ORANGE if place == 1 else "#1f2937")
        canvas.arrow((152, y + 8), (192, y + 8))
        canvas.arrow((307, y + 8), (372, y + 8))
        for head, name in ((y - 16, "segment"), (y + 32, "depth")):
            canvas.box(690, head, 130, 34, f"head: {name}")
            canvas.arrow((497, y + 8), (560, head), (622, head), color=ORANGE if place == 2 else GREY)
            canvas.text(805, head, "L₁" if name == "segment" else "L₂", bold=True)
            canvas.arrow((757, head), (790, head))
    canvas.write(PICTURES / "places.svg")


def parity() -> None:
    """Two ranks of two micro-batches, and one process with all of it."""
    canvas = Canvas(860, 250)
    for rank, y in ((0, 65), (1, 155)):
        canvas.text(10, y, f"rank {rank}", anchor="start", bold=True)
        for micro, x in ((0, 140), (1, 270)):
            canvas.box(x, y, 110, 56, f"micro-batch {micro + 1}", "16 samples", color=(BLUE, GREEN)[rank])
        canvas.arrow((327, y), (400, 110))
    canvas.box(470, 110, 130, 56, "one step", "sums exchanged", color=ORANGE)
    canvas.text(585, 110, "=", bold=True, size=30)
    canvas.box(730, 110, 220, 76, "one process", "a batch of 64 samples", color=ORANGE)
    canvas.text(430, 225, "the same losses, the same weights, the same gradients", color=GREY, size=14)
    canvas.write(PICTURES / "parity.svg")
