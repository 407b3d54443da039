"""What the command line says when something goes wrong: one line, and an exit code."""

EXPECTED = (ValueError, TypeError, OSError, ArithmeticError)
EXTRAS = {
    **dict.fromkeys(("PIL", "matplotlib", "rich", "sklearn", "torchvision"), "recipes"),
    "wandb_workspaces": "dashboards",
}


class RunError(RuntimeError):
    """Training or testing stopped before its end.

    Args:
        message: one line for the user.
        code: the exit code: 1 for a failure, 128 + n where signal n asked to stop.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def describe(error: BaseException, hint: str = " (--debug shows where)") -> str:
    """The error in one line; one that is not about a value, a type or a file is named and followed by `hint`.

    >>> describe(ValueError("`lr` must be above 0, found -1."))
    '`lr` must be above 0, found -1.'
    >>> describe(KeyError("x"))
    "KeyError: 'x' (--debug shows where)"
    """
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and (extra := EXTRAS.get(str(error.name).partition(".")[0])):
        return f'{error.name} is not installed: pip install "lightning-losses[{extra}]"'
    # by name: importing Lightning to describe an error would take seconds
    expected = isinstance(error, EXPECTED) or type(error).__name__ == "MisconfigurationException"
    return text if expected and text else f"{type(error).__name__}: {text}{hint}"
