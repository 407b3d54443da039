"""The result that a recipe promises, and whether a run reaches it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_losses.checks import check_choice, check_number, message, nearest
from lightning_losses.config import ConfigError


@dataclass(frozen=True)
class Reference:
    """A metric's value on the test data, with the deviation that is still a success.

    Args:
        metric: its name as the model logs it.
        value: what was measured.
        tolerance: how far on the wrong side of `value` a run may end, at least 0.
        mode: "max" where higher is better, "min" where lower is.
        minutes: how long the training took.
        hardware: on what.
        source: who measured it: this package, or a publication.
    """

    metric: str
    value: float
    tolerance: float = 0.0
    mode: str = "max"
    minutes: float | None = None
    hardware: str | None = None
    source: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> "Reference | None":
        """The reference that a configuration states; None where it states no value.

        Raises:
            ConfigError: a value is of the wrong type or out of range.
        """
        if not values or values.get("value") is None:
            return None
        try:
            for key, limits in {"value": {}, "tolerance": {"at_least": 0.0}, "minutes": {"at_least": 0.0}}.items():
                if values.get(key) is not None:
                    check_number(f"reference.{key}", values[key], **limits)
            check_choice("reference.mode", values.get("mode", "max"), ("max", "min"))
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from error
        if not isinstance(values.get("metric"), str):
            raise ConfigError(message("reference.metric", "the name of a metric", values.get("metric")))
        return cls(**values)

    def shortfall(self, measured: float) -> float:
        """How far `measured` is on the wrong side of the value; negative where it is better."""
        return self.value - measured if self.mode == "max" else measured - self.value

    def reached(self, measured: float) -> bool:
        """Whether `measured` is at least as good as the value, up to the tolerance; NaN is not.

        >>> Reference("test/accuracy", value=0.9, tolerance=0.01).reached(0.895)
        True
        """
        return self.shortfall(measured) <= self.tolerance

    def measured(self, metrics: Mapping[str, float]) -> float:
        """The metric's value among those that a test logged.

        Raises:
            ConfigError: the test logged no such metric.
        """
        if self.metric not in metrics:
            rule = message("reference.metric", "a metric that the test logs", self.metric)
            raise ConfigError(f"{rule} {nearest(self.metric, metrics)}")
        return metrics[self.metric]
