"""What the page says of one loss: nothing that is not in its class."""

import inspect
import re
from dataclasses import dataclass

import lightning_losses.losses
from catalogue.docstring import Docstring
from lightning_losses.losses import Loss

SHAPES = r"(?:[A-Za-z]+ (?:0\.\.K-1 |0 or 1 |\$`\w`\$ )?)`\[[^\]]*\]`"


def exported() -> dict[str, type[Loss]]:
    """The losses of the library by name; base classes are none."""
    classes = {name: getattr(lightning_losses.losses, name) for name in lightning_losses.losses.__all__}
    return {name: cls for name, cls in classes.items() if issubclass(cls, Loss) and not inspect.isabstract(cls)}


@dataclass(frozen=True)
class Entry:
    """A loss on the page."""

    name: str
    cls: type[Loss]
    docstring: Docstring

    @classmethod
    def of(cls, name: str) -> "Entry":
        """That of an exported loss."""
        loss = exported()[name]
        return cls(name, loss, Docstring.of(loss))

    @property
    def figure(self) -> str:
        """The path of its figure, from docs."""
        return f"losses/{self.name}.svg"

    def signature(self) -> str:
        """How it is made, without types, whose spelling differs from one Python to the next."""
        signature = inspect.signature(self.cls)
        bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        return f"{self.name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"

    def call(self) -> str:
        """How it is called, which is also what a term of it takes from the call of a LossModule."""
        return f"({', '.join(self.cls.inputs)})"

    def inputs(self) -> str:
        """What it is called with, and the shapes, as far as the docstring tells them."""
        named = ", ".join(f"`{name}`" for name in self.cls.inputs)
        shapes = re.findall(SHAPES, " ".join(self.docstring.paragraphs))[:2]
        spoken = dict.fromkeys(shape[0].lower() + shape[1:] for shape in shapes)
        return f"{named}: {', '.join(spoken)}" if shapes else named
