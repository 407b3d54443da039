"""Penalties on forgetting: they keep parameters near values that earlier tasks need."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses.anchors import Anchor, Parameters
from lightning_losses.checks import check_choice, check_number, message
from lightning_losses.functional.consolidation import anchored_square
from lightning_losses.losses.base import Loss
from lightning_losses.numerics import at_least_float32
from lightning_losses.reduction import Parts
from lightning_losses.sharding import Held, held, reshard, sum_over_shards

MODES = ("online", "separate")


class EWC(Loss):
    r"""Elastic weight consolidation, :math:`\frac12 \sum_t \sum_i F_{t,i} (\theta_i - \theta^*_{t,i})^2`.

    For learning one task after another. Call it with the model, which as a term it takes from the call as `model`. When
    task t has ended, `consolidate`: the present parameters become the anchor :math:`\theta^*_t`, with what
    `lightning_losses.fisher.diagonal_fisher` says of their importance. Before that the penalty is 0. Parameters without
    an importance, as the heads of later tasks, are free.

    - ``"separate"`` keeps an anchor for each task: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural
      networks", 2017. Memory and time grow with the tasks.
    - ``"online"`` keeps one, at the parameters after the latest task, with the importances
      :math:`F \leftarrow \gamma F + F_t`: Schwarz et al., "Progress and compress", 2018. With :math:`\gamma = 1` it is
      what the posterior of all tasks asks for (Huszár 2018): earlier anchors have already pulled at the latest.

    Importances of synaptic intelligence (`path_importance`) or of `output_sensitivity` (MAS) may stand for F; the
    penalties of these papers lack the 1/2. Give the term ``balanced=False``, since its gradient does not pass through
    shared features. Anchors are part of the state, in float32, and follow the model to its devices.

    Range :math:`[0, \infty)`, and no reference. Its Hessian is diagonal, :math:`\sum_t F_t`.

    Traps: its weight belongs to one way of computing F, so do not take it from a paper that computes F in another;
    `lightning_losses.anchors.stable_penalty_step` tells whether plain SGD can stand it. EWC preserves what old outputs
    depend on, not the borders between classes that were never seen together: expect it to fail where tasks bring new
    classes and no input tells which task is meant. BatchNorm's running statistics are no parameters and drift: keep
    them as they are after the first task, or use GroupNorm.

    Parameters that FSDP2 has sharded are penalised where they lie, and their anchors lie there too. All ranks must call
    it then: they exchange one number.

    Args:
        mode: ``"online"`` or ``"separate"``.
        gamma: :math:`\gamma` in [0, 1], what is left of old importances at each consolidation, for ``"online"``.

    Raises:
        ValueError: `gamma` is out of its range, or not 1 with separate anchors; in a call, an anchor was saved for
            another architecture. The message names the parameter.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> ewc = EWC()
    >>> ewc(model).item()
    0.0
    >>> ewc.consolidate(model, {"weight": torch.tensor([[3.0]])})
    >>> _ = model.weight.data.add_(2.0)
    >>> ewc(model).item()
    6.0
    """

    inputs = ("model",)

    def __init__(self, *, mode: str = "online", gamma: float = 1.0) -> None:
        super().__init__(reduction="sum")
        self.mode = check_choice("mode", mode, MODES)
        self.gamma = check_number("gamma", gamma, at_least=0, at_most=1)
        if mode == "separate" and gamma != 1:
            raise ValueError(message("gamma", "1 with mode='separate', which keeps all anchors as they are", gamma))
        self.anchors: list[Anchor] = []

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """Of parameters, their anchor and its importances."""
        assert weight is not None
        return Parts(anchored_square(input, target, weight))

    def forward(self, model: nn.Module) -> Tensor:  # type: ignore[override]
        """The penalty, a 0-d tensor in float32 or wider; 0 before any task has ended."""
        parameters = dict(model.named_parameters())
        self.anchors = [anchor.beside(parameters) for anchor in self.anchors]
        sums: list[Tensor] = []
        parts: list[Held] = []
        for anchor in self.anchors:
            for name, at in anchor.parameters.items():
                own, place, importance = held(parameters[name], at), held(at).part, held(anchor.fisher[name]).part
                sums.append(self._parts(own.part, place, importance, None).values.sum())
                parts.append(own)
        return sum_over_shards(sums, parts) if sums else _zero(parameters)

    def consolidate(self, model: nn.Module, importance: Parameters) -> None:
        """A task has ended: keep the model's parameters near what they are now, each by its importance.

        Args:
            model: the module that the penalty is called with.
            importance: by name, as `diagonal_fisher` returns it; the same on all ranks, or sharded as the parameters.

        Raises:
            ValueError: a name or a shape is not the model's, or an importance is negative or not finite.
        """
        reshard(model)
        parameters = dict(model.named_parameters())
        with torch.inference_mode(False):  # autograd saves none of that mode's tensors
            anchor = Anchor.of(parameters, importance)
            earlier = [anchor.beside(parameters) for anchor in self.anchors]
            if self.mode == "online" and earlier:
                anchor = earlier.pop().followed_by(anchor, parameters, self.gamma)
        self.anchors = [*earlier, anchor]

    @property
    def importance(self) -> dict[str, Tensor]:
        """The sum over the anchors by name: the diagonal of the penalty's Hessian."""
        total: dict[str, Tensor] = {}
        for anchor in self.anchors:
            for name, fisher in anchor.fisher.items():
                total[name] = total[name] + fisher if name in total else fisher
        return total

    def statistics(self, *inputs: Any, **named: Any) -> Tensor:
        """Nothing of the data needs to be known."""
        return torch.empty(0)

    def get_extra_state(self) -> dict[str, Any]:
        """The anchors. As buffers DDP would send them in every step, and half precision would round them."""
        return {"anchors": [{"parameters": anchor.parameters, "fisher": anchor.fisher} for anchor in self.anchors]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.anchors = [Anchor(dict(anchor["parameters"]), dict(anchor["fisher"])) for anchor in state["anchors"]]


def _zero(parameters: Parameters) -> Tensor:
    """With a graph, so that the penalty alone can be differentiated too."""
    trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
    return at_least_float32(held(trained[0]).part).flatten()[:0].sum() if trained else torch.zeros(())
