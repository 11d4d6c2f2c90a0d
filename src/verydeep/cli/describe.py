"""`verydeep describe D`: the accounts of a network as a table, as JSON, or as a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from verydeep.accounting.memory import PRECISIONS
from verydeep.architecture import CONFIGURATIONS, HEADS, Architecture, Boxes
from verydeep.errors import ModelFileError, UsageError, printable

if TYPE_CHECKING:
    from verydeep.weights import ModelInfo

ALIASES = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}  # how torchvision, timm and Keras call them


@dataclass(frozen=True)
class ModelFile:
    """What stands in a model file beside its arrays."""

    path: Path
    bytes: int
    info: "ModelInfo"

    @property
    def image_size(self) -> tuple[int, int]:
        """That of the network's input in prediction; training may have used a smaller crop."""
        return self.info.preprocessing.crop, self.info.preprocessing.crop

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it, beside the accounts."""
        return {
            "model_file": {"path": str(self.path), "bytes": self.bytes},
            "class_names": self.info.classes,
            "preprocessing": self.info.preprocessing.to_dict(),
            "calibration": self.info.calibration.to_dict(),
            "origin": dict(self.info.origin),
        }


@click.command(
    epilog="Examples: `verydeep describe vgg16`, `verydeep describe A --head gap --size 96 --classes 10 --batch 64`."
)
@click.argument("network", metavar="CONFIGURATION|MODEL")
@click.option("--head", type=click.Choice(list(HEADS)), help="What stands on the backbone.  [fc]")
@click.option("--classes", type=int, metavar="N", help="How many classes.  [1000]")
@click.option("--boxes", type=click.Choice(get_args(Boxes)), help="Beside the scores of the classes.  [none]")
@click.option("--dimensions", type=int, metavar="N", help="Of the embedding head.  [128]")
@click.option("--size", type=int, metavar="PIXELS", help="Side of the training crop, which fixes fc6.  [224]")
@click.option("--channels", type=int, metavar="N", help="Channels of the image.  [3]")
@click.option("--width", type=float, metavar="FACTOR", help="Multiplies every layer's channels.  [1]")
@click.option("--batch-norm", is_flag=True, help="Batch norm after every convolution of the backbone.")
@click.option("--image", metavar="HEIGHTxWIDTH", help="The image, where the head is not fc.  [the crop]")
@click.option("--batch", type=int, metavar="N", default=1, help="Images at once.  [1]")
@click.option("--precision", type=click.Choice(list(PRECISIONS)), default="float32", help="Of the values.  [float32]")
@click.option("--ema", is_flag=True, help="Count a moving average of the weights in training's memory.")
@click.option("--peak-gflops", type=float, metavar="N", help="Predict the time: the machine's peak, 10^9 FLOP/s.")
@click.option("--bandwidth-gbs", type=float, metavar="N", help="Predict the time: its memory's speed, 10^9 byte/s.")
@click.option("--why3x3", is_flag=True, help="Add the table that explains the small kernels.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--picture", metavar="FILE", help="Draw the network into FILE, .svg or .png.")
def describe(
    network: str,
    *,
    head: str | None,
    classes: int | None,
    boxes: str | None,
    dimensions: int | None,
    size: int | None,
    channels: int | None,
    width: float | None,
    batch_norm: bool,
    image: str | None,
    batch: int,
    precision: str,
    ema: bool,
    peak_gflops: float | None,
    bandwidth_gbs: float | None,
    why3x3: bool,
    as_json: bool,
    picture: str | None,
) -> None:
    """Shapes, parameters, memory and time of a network, layer by layer.

    CONFIGURATION is A, A-LRN, B, C, D, E or toy, or a usual name: vgg11, vgg13, vgg16, vgg19, each also with _bn for
    batch norm. MODEL is a model file, the folder that `verydeep train` wrote, or the name of a built-in model.
    """
    from verydeep.accounting.summary import summarize  # --help does without
    from verydeep.accounting.why3x3 import compare_stacks

    if dimensions is not None and head != "embedding":
        raise UsageError(
            f"--dimensions goes with the head embedding; got {head or 'fc'}.", "Add --head embedding, or leave it out."
        )
    options = {
        "head": head,
        "classes": classes,
        "boxes": boxes,
        "dimensions": dimensions,
        "input_size": size,
        "input_channels": channels,
        "width": width,
        "batch_norm": batch_norm or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    architecture, model = _find(network, given)
    machine = _machine(peak_gflops, bandwidth_gbs)
    image_size = _image_size(image) or (model.image_size if model else None)
    summary = summarize(architecture, image_size, batch_size=batch, precision=precision, ema=ema, machine=machine)
    stacks = compare_stacks() if why3x3 else ()
    if picture:
        _draw(architecture, image_size, picture)
    if as_json:
        import json  # the table does without

        fields = summary.to_dict()
        if model:
            fields |= model.to_dict()
        if stacks:
            fields["why3x3"] = [stack.to_dict() for stack in stacks]
        click.echo(json.dumps(fields, indent=2, allow_nan=False))
    else:
        from verydeep.cli.describe_table import print_summary  # --json does without

        print_summary(summary, _title(architecture), model, stacks)


def _find(network: str, given: dict[str, Any]) -> tuple[Architecture, ModelFile | None]:
    """The architecture, and the file that it stands in where `network` is a model."""
    configuration = _configuration(network)
    if configuration:
        return Architecture(**configuration | given), None
    model = _read(network)
    if given == {"head": "conv"}:
        return model.info.architecture.dense(), model
    if given:
        raise UsageError(
            f"{network} says itself what its network is; {', '.join(given)} cannot be changed.",
            "Leave these options out. Only --head conv may be given: the dense view.",
        )
    return model.info.architecture, model


def _configuration(name: str) -> dict[str, Any]:
    """The fields that a name stands for: vgg16_bn, VGG-16-bn, D-bn -> D with batch norm. Empty for any other word."""
    plain = name.lower().replace("_", "-").removesuffix("-bn")
    names = {key.lower(): key for key in CONFIGURATIONS}
    configuration = names.get(plain) or ALIASES.get(plain.replace("-", ""))
    if not configuration:
        return {}
    fields = {"configuration": configuration, "batch_norm": name.lower().endswith(("-bn", "_bn"))}
    return fields | ({"head": "segnet"} if configuration == "SegNet-Basic" else {})


def _read(name: str) -> ModelFile:
    from verydeep.runtime import built_in_models, find_model  # numpy takes as long as all the rest
    from verydeep.weights import read_info
    from verydeep.weights.files import model_path

    try:
        path = find_model(name)
    except ModelFileError as error:
        raise UsageError(
            f"{name!r} is neither a configuration nor a model file.",
            f"Configurations are {', '.join(CONFIGURATIONS)}; also {', '.join(ALIASES)}, and all of them with _bn. "
            f"Built-in models: {', '.join(built_in_models()) or 'none in this installation'}.",
        ) from error
    info = read_info(path)
    file = model_path(path)
    return ModelFile(file, file.stat().st_size, info)


def _title(architecture: Architecture) -> str:
    is_whole = architecture.head in ("fc", "conv")  # the number counts the paper's three fully connected layers
    usual = [f" (VGG-{name[3:]})" for name, key in ALIASES.items() if is_whole and key == architecture.configuration]
    family = "" if architecture.configuration == "SegNet-Basic" else "VGG "
    return f"{family}{architecture.name}{''.join(usual)}"


def _machine(peak_gflops: float | None, bandwidth_gbs: float | None) -> tuple[float, float] | None:
    if peak_gflops is None and bandwidth_gbs is None:
        return None
    if peak_gflops is None or bandwidth_gbs is None:
        raise UsageError(
            "to predict the time, both the peak and the bandwidth of the machine are needed; got one.",
            "Give --peak-gflops and --bandwidth-gbs.",
        )
    return peak_gflops, bandwidth_gbs


def _image_size(text: str | None) -> tuple[int, int] | None:
    """384 -> (384, 384); 384x512 -> (384, 512)."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) < 7 for side in sides):
        raise UsageError(f"--image is {text!r}; expected a size like 384 or 384x512.", "Pixels, the height first.")
    return int(sides[0]), int(sides[-1])


def _draw(architecture: Architecture, image_size: tuple[int, int] | None, path: str) -> None:
    from verydeep.accounting.picture import draw, to_png, to_svg  # seldom asked for
    from verydeep.files import atomic_write

    drawing = draw(architecture, image_size)
    suffix = Path(path).suffix.lower()
    if suffix not in (".svg", ".png"):
        raise UsageError(f"cannot draw into {path}: it is neither SVG nor PNG.", "Let its name end in .svg or .png.")
    atomic_write(path, to_svg(drawing) if suffix == ".svg" else to_png(drawing))
    click.echo(f"wrote {printable(path)}", err=True)
