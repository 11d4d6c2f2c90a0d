"""The tree of errors: whatever a user can cause is one of these, in one sentence, with a way out.

A message says what was got and what was expected; `hint` says what to do. The command line prints the two on lines
of their own and exits with `exit_code`: 2 misuse, 3 bad data, 1 any other failure.
"""


def printable(text: str) -> str:
    """Text from outside on one line and without control characters: they are spelt out, as in "a\\nb"."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class VerydeepError(Exception):
    """Anything that verydeep reports instead of a traceback.

    message: what was got and what was expected. hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message} {hint}".rstrip())

    def __reduce__(self) -> tuple[type["VerydeepError"], tuple[str, str]]:
        return type(self), (self.message, self.hint)  # between processes, by pickle


class UsageError(VerydeepError, ValueError):
    """A wrong argument, option, name or combination of them."""

    exit_code = 2


class ArchitectureError(UsageError):
    """A network that cannot be built, or an input that does not fit one."""


class RecipeError(UsageError):
    """An unknown recipe or field, or a value out of its range."""


class DataError(VerydeepError, ValueError):
    """Files that are not what they should be."""

    exit_code = 3


class ImageError(DataError):
    """A file that is not a picture we accept: names the file and the reason."""


class DatasetError(DataError):
    """A folder of photos that cannot be trained or evaluated on."""


class ModelFileError(DataError):
    """A model file that is missing, damaged, too new, or not for this network."""


class CheckpointError(DataError):
    """The state of a training run that is missing, damaged, or of another run."""


class TrainingError(VerydeepError):
    """A training that cannot go on."""


class NonFiniteError(TrainingError):
    """A step of training that met NaN or infinity; nothing of it was kept."""


class DeadProcessError(TrainingError):
    """A process that loads photos has ended; the training can be gone on with."""


class MissingExtraError(VerydeepError, ImportError):
    """A part of verydeep whose libraries are not installed."""


class DeviceError(UsageError):
    """A device, engine or precision that this machine does not offer."""


class InterruptedRun(VerydeepError):  # noqa: N818, nothing went wrong
    """A training that was stopped by Ctrl-C or another signal, and can be gone on with."""

    exit_code = 130  # as shells count a command that SIGINT ended; 143 after SIGTERM


class HungRun(VerydeepError):  # noqa: N818, as the one above
    """A training that showed no sign of life and was ended; it can be gone on with."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: a supervisor may try again


class StorageError(VerydeepError, OSError):
    """A file that could not be written, or not be read at the moment: no space, no permission, a disk that fails."""

    def __init__(self, message: str, hint: str = "") -> None:
        VerydeepError.__init__(self, message, hint)

    def __str__(self) -> str:  # OSError would print its own two arguments
        return f"{self.message} {self.hint}".rstrip()
