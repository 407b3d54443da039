"""A proposal: the terms of a LossModule as YAML holds them, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import yaml


@dataclass(frozen=True)
class Proposal:
    """What the evidence speaks for.

    Args:
        terms: of a LossModule, by name, in the form that `LossModule.from_config` takes.
        plain: the name of the loss that is proposed where nothing speaks for another one.
        reasons: why it is not that one, with the numbers; empty where it is.
        cautions: what the proposal costs, or asks of the model.
        alternatives: what else might do, and when.
    """

    terms: Mapping[str, Any]
    plain: str
    reasons: Sequence[str] = ()
    cautions: Sequence[str] = ()
    alternatives: Sequence[str] = ()

    @property
    def config(self) -> dict[str, Any]:
        """The argument of `LossModule.from_config`."""
        return {"terms": dict(self.terms)}

    @property
    def losses(self) -> list[str]:
        """The names of the losses, in the order of the terms."""
        specs = [term.get("loss", term) if isinstance(term, dict) else term for term in self.terms.values()]
        return [spec["class_path"] if isinstance(spec, dict) else spec for spec in specs]

    @property
    def call(self) -> str:
        """How the LossModule is called in a training step."""
        inputs = [name for term in self.terms.values() if isinstance(term, dict) for name in term.get("inputs", ())]
        keywords = ", ".join(f"{name}=..." for name in dict.fromkeys(inputs))
        return f"criterion({keywords or 'input, target'})"

    def yaml(self) -> str:
        """The proposal as a YAML file, its reasons as comments.

        >>> print(Proposal({"fit": loss("Huber", delta=2.0)}, "squared error").yaml())
        terms:
          fit:
            class_path: Huber
            init_args:
              delta: 2.0
        <BLANKLINE>
        """
        wrapped = (wrap(reason, 100, initial_indent="# ", subsequent_indent="#   ") for reason in self.reasons)
        reasons = "".join(f"{line}\n" for lines in wrapped for line in lines)
        dumped = yaml.dump(self.config, Dumper=_Dumper, default_flow_style=False, sort_keys=False, width=100)
        return reasons + dumped


def loss(name: str, **arguments: Any) -> Any:
    """A loss as YAML holds it; arguments that are None are left to their defaults.

    >>> loss("MSE"), loss("Huber", delta=2.0)
    ('MSE', {'class_path': 'Huber', 'init_args': {'delta': 2.0}})
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    return {"class_path": name, "init_args": given} if given else name


def term(spec: Any, inputs: Sequence[str] | None = None, weight: float = 1.0) -> dict[str, Any]:
    """A term as YAML holds it."""
    return {"loss": spec, "weight": weight} | ({"inputs": list(inputs)} if inputs else {})


class _Dumper(yaml.SafeDumper):
    """Mappings over several lines, lists on one."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)
