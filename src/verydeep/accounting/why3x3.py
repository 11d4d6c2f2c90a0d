"""Why 3x3: stacks of small convolutions against the one large convolution that sees as much (section 2.3)."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Stack:
    """`depth` convolutions of kernel x kernel on top of one another, each with a ReLU, all of the same width."""

    depth: int
    kernel: int
    channels: int
    map_size: int  # pixels, the side of the map they run on

    @property
    def name(self) -> str:
        return f"{('one', 'two', 'three')[self.depth - 1]} {self.kernel}x{self.kernel}"

    @property
    def receptive_field(self) -> int:
        """Side of the square that a unit of the last layer sees: each layer adds kernel - 1."""
        return 1 + self.depth * (self.kernel - 1)

    @property
    def weights_per_square_channel(self) -> int:
        """The n of "n C^2 weights"."""
        return self.depth * self.kernel**2

    @property
    def weights(self) -> int:
        return self.weights_per_square_channel * self.channels**2

    @property
    def macs(self) -> int:
        return self.weights * self.map_size**2

    @property
    def nonlinearities(self) -> int:
        return self.depth

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        names = ("name", "receptive_field", "weights_per_square_channel", "weights", "macs", "nonlinearities")
        return asdict(self) | {name: getattr(self, name) for name in names}


def compare_stacks(channels: int = 256, map_size: int = 56) -> tuple[Stack, ...]:
    """Two 3x3 beside one 5x5, three 3x3 beside one 7x7; the sizes are those of the paper's third block by default."""
    return tuple(Stack(depth, kernel, channels, map_size) for depth, kernel in ((2, 3), (1, 5), (3, 3), (1, 7)))
