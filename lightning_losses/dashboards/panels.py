"""What a dashboard shows: every section and panel, stated once for W&B and for reports."""

from collections.abc import Iterable

from lightning_losses.dashboards.panel import Panel, Section, band, edges

__all__ = ["SECTIONS", "Panel", "Section", "edges", "place"]

RESULTS = Section(
    "Results",
    (
        Panel(
            "Validation loss",
            ("val/loss", "val/loss_*"),
            "Rising while the training loss falls: the model learns its training data by heart.",
            summary="min",
        ),
        Panel(
            "Validation metrics",
            ("val/*",),
            "What the model can do on data that it was not trained on.",
        ),
        Panel("Test", ("test/*",), "One value a run: that of the checkpoint that was tested."),
        Panel(
            "Over all tasks",
            ("continual/*",),
            "Of training on one task after the other: the mean accuracy, and what later tasks gave to earlier ones.",
        ),
    ),
    "How good the model is on data that it has not seen.",
)

LOSSES = Section(
    "Losses",
    (
        Panel(
            "Total loss",
            ("train/loss", "train/loss_*", "train/generator", "train/discriminator"),
            "The scalar that is differentiated.",
            smoothing=0.6,
        ),
        Panel(
            "Raw loss of each term",
            ("train/raw/*", "train/*/raw/*"),
            "In units of its own, so the heights do not compare.",
            smoothing=0.6,
        ),
        Panel(
            "Weighted loss of each term",
            ("train/weighted/*", "train/*/weighted/*"),
            "Weight times raw loss: what a term adds to the total.",
            smoothing=0.6,
        ),
        Panel(
            "Normalised loss of each term",
            ("losses/normalized/*", "train/normalized/*"),
            "0 is perfect, 1 is knowing nothing, above 1 is worse than knowing nothing; these heights compare.",
            smoothing=0.6,
        ),
        Panel(
            "Flags",
            ("losses/plateau/*", "losses/too_good/*"),
            "1 where a term has stopped improving, or is better so early that labels may leak into the input.",
            summary="max",
        ),
    ),
    "What is minimised, term by term.",
)

BALANCE = Section(
    "Balance of the terms",
    (
        Panel(
            "Weights",
            ("losses/weight/*", "train/weight/*"),
            "What each term is multiplied by.",
        ),
        Panel(
            "Share of the total",
            ("losses/share/*",),
            "A term whose share is near 1 trains alone; one whose share is near 0 is not trained.",
            smoothing=0.6,
        ),
        Panel(
            "Gradient norm of each term",
            ("gradients/term_norm/*",),
            "How hard each term pulls, before its weight.",
            smoothing=0.6,
            log=True,
        ),
        Panel(
            "Cosines between terms",
            ("gradients/cosine/*",),
            "Below 0 two terms pull against each other: a step that helps one harms the other.",
            kind="matrix",
            smoothing=0.6,
        ),
        Panel(
            "Conflict",
            ("gradients/conflict",),
            "The share of pairs of terms that pull against each other.",
            smoothing=0.6,
        ),
    ),
    "Which term has its way, and which terms fight.",
)

GRADIENTS = Section(
    "Gradients",
    (
        Panel(
            "Gradient norms by layer",
            ("gradients/norm/*", "gradients/[0-9]/norm/*"),
            "Before clipping; a layer far below the others does not learn, one that grows without end explodes.",
            smoothing=0.6,
            log=True,
        ),
        Panel(
            "Gradient norms after clipping",
            ("gradients/norm_clipped/*", "gradients/[0-9]/norm_clipped/*"),
            "What the optimizer was given.",
            smoothing=0.6,
            log=True,
        ),
        Panel(
            "Size of a step against the weights",
            ("gradients/update_ratio/*", "gradients/[0-9]/update_ratio/*"),
            "About 0.001 is usual; far less learns nothing, far more forgets.",
            smoothing=0.6,
            log=True,
        ),
        Panel(
            "Gradient noise scale",
            ("gradients/noise_scale",),
            "The batch size at which a step is half noise: a smaller one wastes steps, a larger one wastes samples.",
        ),
        Panel(
            "Layers with an infinite or NaN gradient",
            ("gradients/nonfinite", "gradients/[0-9]/nonfinite"),
            "Anything but 0 is a step that did harm or was skipped.",
            summary="max",
        ),
    ),
    "What reaches the weights.",
)

CURVATURE = Section(
    "Curvature",
    (
        Panel(
            "Trace of the Hessian",
            band("curvature/trace/total"),
            "How sharp the loss surface is; the shade holds it with 95 %.",
            kind="band",
        ),
        Panel(
            "Trace, layer-normalised",
            band("curvature/trace/layer_normalized"),
            "Does not change when layers are rescaled, so networks can be compared by it.",
            kind="band",
        ),
        Panel(
            "Trace by term",
            band("curvature/trace/term/*"),
            "Which term makes the surface sharp.",
            kind="band",
        ),
        Panel(
            "Trace by layer",
            band("curvature/trace/*"),
            "Which layer makes the surface sharp.",
            kind="band",
        ),
        Panel(
            "Stability",
            band("curvature/stability", "curvature/critical"),
            "Sharpness over what the optimizer can stand. Stability above 1 means that the next step overshoots; "
            "critical, measured along the step, is often far above 1 with momentum.",
            kind="band",
            summary="max",
        ),
        Panel(
            "Largest eigenvalue",
            band("curvature/lambda_max", "curvature/residual"),
            "The curvature in the steepest direction; the residual says how exactly it is known.",
            kind="band",
        ),
        Panel(
            "Whether the trace is the Hessian's",
            ("curvature/is_hessian",),
            "1: of the Hessian. 0: of the Gauss-Newton matrix, which differs in this network.",
        ),
    ),
    "How flat the place is that training has reached: a diagnostic of the optimisation, not of generalisation.",
)

PICTURES = Section(
    "Pictures and tables",
    (
        Panel(
            "Loss surface",
            ("loss_surface/random", "loss_surface/eigen", "loss_surface/trajectory"),
            "The loss around the parameters, in two directions out of millions.",
            kind="image",
        ),
        Panel(
            "Samples and predictions",
            ("test/predictions", "test/samples", "samples", "continual/tasks", "*"),
            "What the model makes of single examples, and of tasks.",
            kind="image",
        ),
        Panel(
            "Class by class",
            ("test/confusion", "test/classes", "continual/matrix", "*"),
            "Which class is taken for which, how good each one is, and how good each task still is after later ones.",
            kind="table",
        ),
    ),
    "What curves do not show.",
)

COST = Section(
    "Learning rate and cost",
    (
        Panel("Learning rate", ("lr-*",), "As scheduled, by optimizer and parameter group."),
        Panel("Epoch", ("epoch",), "How far training is."),
        Panel(
            "Time taken by the curvature monitor",
            ("curvature/overhead",),
            "As a share of the training time; its budget is its limit.",
        ),
        Panel("GPU", ("system/gpu.*",), "How busy the accelerators are, and how much of their memory is in use."),
        Panel("Processor", ("system/cpu", "system/proc.cpu.threads"), "In percent, and with how many threads."),
        Panel(
            "Memory in percent",
            ("system/memory_percent", "system/proc.memory.percent"),
            "Of the machine and of the training; rising without end means that something is never freed.",
        ),
        Panel(
            "Memory in MB",
            ("system/proc.memory.rssMB", "system/proc.memory.availableMB"),
            "What the training holds, and what is left.",
        ),
        Panel("Disk and network", ("system/disk.*", "system/network.*"), "Whether training waits for its data."),
    ),
    "What the training costs.",
)

SECTIONS = (RESULTS, LOSSES, BALANCE, CURVATURE, GRADIENTS, PICTURES, COST)
"""Everything that is shown, in order."""


def place(series: Iterable[str], images: Iterable[str] = (), tables: Iterable[str] = ()) -> dict[Panel, list[str]]:
    """The keys of each panel that has some, in the order of `SECTIONS`; a key goes to the first panel that takes it.

    Args:
        series: keys of numbers.
        images: keys of pictures, which go to panels of the kind ``"image"``.
        tables: keys of tables, which go to panels of the kind ``"table"``, and numbers to the others.

    >>> {panel.title: keys for panel, keys in place(["train/loss", "train/raw/dice"]).items()}
    {'Total loss': ['train/loss'], 'Raw loss of each term': ['train/raw/dice']}
    """
    placed: dict[Panel, list[str]] = {panel: [] for section in SECTIONS for panel in section.panels}
    for keys, kind in (series, None), (images, "image"), (tables, "table"):
        for key in keys:
            panels = (panel for panel in placed if panel.media == kind and panel.takes(key))
            if (panel := next(panels, None)) is not None:
                placed[panel].append(key)
    return {panel: keys for panel, keys in placed.items() if keys}
