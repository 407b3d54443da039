"""`advise`: from the targets of a task to advice on its loss."""

import inspect
from collections.abc import Sequence
from typing import Any

from lightning_losses.advise.advice import Advice
from lightning_losses.advise.tasks import TASKS
from lightning_losses.checks import check_choice, message


def advise(
    targets: Any,
    task: str,
    predictions: Any = None,
    *,
    num_classes: int | None = None,
    ignore_index: int | None = None,
    annotators: bool = False,
    intervals: Sequence[float] | None = None,
) -> Advice:
    r"""Look at real targets, and at predictions of them, and propose a loss with reasons.

    Every reason is a number of the data that is beyond a stated threshold by more than its sampling error, so that data
    without anything unusual get the plain loss of their task. All evidence together is wrong in less than one report of
    twenty; what targets cannot tell is said.

    Args:
        targets: what the model shall learn, tensors, arrays or lists, for the task:

            - ``"classification"``: labels [N, \*]; or distributions over the classes [N, C], floating; or, with
              `annotators`, the labels of A annotators [N, A].
            - ``"multilabel"``: 0 or 1 [N, C].
            - ``"ordinal"``: labels [N] whose order means something. From labels alone that cannot be seen.
            - ``"regression"``: numbers [N] or [N, D].
            - ``"segmentation"``: label maps [N, H, W], or a sequence of maps [H, W]; class 0 is the background.
            - ``"detection"``: for each image boxes (x1, y1, x2, y2) [n, 4], or a mapping of ``"boxes"`` and
              ``"labels"``, and perhaps ``"size"``, (height, width).
            - ``"ranking"``: for each query the relevance of its items [n], or all of them [Q, n].
            - ``"metric"``: labels [N] of identities that distances shall tell apart.
        task: one of these.
        predictions: of a model, for data that it was not trained on: of shape [N, C] (probabilities or logits) or [N]
            for classification and ordinal labels, like the targets for regression.
        num_classes: how many classes there are, if some may not occur.
        ignore_index: the label of what does not count, or of the padding of rankings.
        annotators: whether the labels [N, A] are several opinions about one sample.
        intervals: quantiles to predict beside a number, such as (0.05, 0.95).

    Returns:
        Advice: print it for the report; `loss_module()` builds the proposal and `yaml()` writes it.

    Raises:
        TypeError, ValueError: the targets are not what the task asks for, or an argument is not for this task.

    >>> advice = advise([0] * 300 + [1] * 310, "classification")
    >>> advice.config
    {'terms': {'classify': 'CrossEntropy'}}
    >>> len(advice.proposal.reasons)
    0
    """
    check_choice("task", task, TASKS)
    options = {
        "predictions": predictions,
        "num_classes": num_classes,
        "ignore_index": ignore_index,
        "annotators": annotators or None,
        "intervals": intervals,
    }
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in inspect.signature(TASKS[task]).parameters:
            raise ValueError(message(name, f"left out for {task}", "one"))
    evidence, proposal = TASKS[task](targets, **given)
    return Advice(task, evidence, proposal)
