"""All accounts of one network together, as `verydeep describe` shows them."""

from dataclasses import dataclass
from typing import Any

from verydeep.accounting.layers import LayerAccount, Totals, account_layers, total
from verydeep.accounting.memory import InferenceMemory, TrainingMemory, inference_memory, training_memory
from verydeep.accounting.roofline import LayerTime, predict_times
from verydeep.architecture import Architecture


@dataclass(frozen=True)
class Summary:
    """The accounts of a network for images of one size, in batches of one size."""

    architecture: Architecture
    image_size: tuple[int, int]  # height, width in pixels
    batch_size: int
    precision: str
    layers: tuple[LayerAccount, ...]
    totals: Totals
    inference: InferenceMemory
    training: TrainingMemory | None  # None in int8, which cannot be trained in
    times: tuple[LayerTime, ...]  # empty where no machine was named

    @property
    def time_ms(self) -> float:
        """The predicted time of a batch."""
        return sum(time.time_ms for time in self.times)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it. Later versions may add keys; they rename none."""
        fields: dict[str, Any] = {
            "architecture": {"name": self.architecture.name} | self.architecture.to_dict(),
            "image_size": list(self.image_size),
            "layers": [account.to_dict() for account in self.layers],
            "totals": self.totals.to_dict(),
            "memory": {
                "batch_size": self.batch_size,
                "precision": self.precision,
                "inference": self.inference.to_dict(),
                "training": self.training.to_dict() if self.training else None,
            },
        }
        if self.times:
            fields["roofline"] = {"layers": [time.to_dict() for time in self.times], "time_ms": self.time_ms}
        return fields


def summarize(
    architecture: Architecture,
    image_size: tuple[int, int] | None = None,
    *,
    batch_size: int = 1,
    precision: str = "float32",
    ema: bool = False,
    machine: tuple[float, float] | None = None,
) -> Summary:
    """The accounts of `architecture`.

    image_size: (height, width) in pixels, by default the input size. ema: whether training keeps a moving average of
    the weights. machine: its peak in 10^9 FLOP/s and its memory's bandwidth in 10^9 byte/s, to predict the time.
    Raises ArchitectureError where the image does not fit and UsageError on any other value out of range.
    """
    layers = account_layers(architecture, image_size)
    return Summary(
        architecture=architecture,
        image_size=layers[0].output_shape[1:],
        batch_size=batch_size,
        precision=precision,
        layers=layers,
        totals=total(layers),
        inference=inference_memory(layers, batch_size, precision),
        training=None if precision == "int8" else training_memory(architecture, layers, batch_size, precision, ema),
        times=predict_times(layers, *machine, batch_size, precision) if machine else (),
    )
