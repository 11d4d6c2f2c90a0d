"""A recipe: every choice of a training, in one place a person can read."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from verydeep.architecture import Architecture, Boxes, Head, Task
from verydeep.data.augment import Augmentation
from verydeep.errors import RecipeError
from verydeep.image.preprocess import fill_colour
from verydeep.nouns import Fit, Preprocessing

_MOST_MOMENTUM = 0.9999  # with Muon, whose weights decay by 1 / (1 - momentum) as much in a step
_GROWING = 2 / 3  # of the epochs: by then pictures that grow have their full size
Trained: TypeAlias = Literal["all", "last-block", "head"]
"""The layers that learn: all of them, those from the last block of convolutions on, or those above it."""


@dataclass(frozen=True)
class Stage:
    """A row of epochs in which the same layers learn."""

    first: int  # counted from 0
    end: int  # the epoch after the last
    trained: Trained
    has_views: bool  # whether they learn from what the frozen layers made of each photo's views, computed once


@dataclass(frozen=True)
class Recipe:
    """All settings of a training; `--set field=value` changes one. Raises RecipeError on a value out of its range."""

    # The network
    configuration: str = "A"
    batch_norm: bool = True
    width: float = 1.0  # multiplies the channels
    head: Head = "gap"  # fc, gap; segnet: the class of each pixel; embedding: near where photos are alike
    boxes: Boxes = "none"  # besides the class, where it is: single box, or one for each class
    dimensions: int = 128  # of the embedding head
    input_size: int = 128  # pixels, the side of the pictures trained on
    initialization: Literal["he", "identity", "glorot", "paper"] = "he"
    initial_std: float | None = None  # of every weight, for initialization=paper: 0.01 unless set
    whiten: bool = False  # conv1_1 starts with the directions in which the photos' 3x3 patches differ most
    dropout: float = 0.5  # after fc6 and fc7; the gap head has none

    # The optimiser: stochastic gradient descent with momentum, and Muon
    epochs: int = 40
    batch_size: int = 64  # photos a step
    micro_batch: int | None = None  # photos at once, their gradients added up to the batch's; none: as many as fit
    learning_rate: float = 0.05  # for this batch size
    muon_factor: float = 0.0  # of the inner convolutions' learning rate, by Muon; 0: as the others, without it
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4  # of weights; biases and batch norm are left alone
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"  # plateau: a tenth, where validation stops improving
    warmup_epochs: float = 1.0  # the learning rate rises from zero in them
    patience: int = 5  # plateau: epochs without a better top-1 before the learning rate falls
    drops: int = 3  # plateau: how often it falls before the training ends
    label_smoothing: float = 0.1
    class_weights: Literal["none", "balanced"] = "none"  # balanced: all classes count alike, whatever share they have
    box_loss: Literal["euclidean", "l1", "giou"] = "l1"  # euclidean: the paper's
    box_weight: float = 5.0  # of the loss of the boxes, beside that of the classes
    learns_classes: bool = True  # false: boxes alone, as in the paper
    embedding_loss: Literal["triplet", "contrastive", "softmax"] = "triplet"  # softmax: over a proxy of each class
    margin: float | None = None  # of triplet and contrastive, a distance; none: 0.2 and 1
    photos_per_class: int = 4  # in each batch for triplet and contrastive, at least
    early_stopping: int | None = None  # epochs without a lower validation loss; the best epoch's weights are kept
    ema_decay: float = 0.998  # of the averaged weights, which are what is kept; 0 keeps the last ones

    # The layers that learn, where a run begins from a trained model (--from MODEL)
    trained: Trained = "all"  # the others stay as they are, with the statistics of their batch norm
    head_epochs: int = 0  # in the first ones only the head learns, then what `trained` says
    layer_decay: float = 1.0  # a block's learning rate is this times that of the block above it; the head has it whole
    views: int = 8  # pictures of a photo, of which frozen layers make the features once; 0: anew in each epoch

    # The photos
    first_size: int | None = None  # pixels, in the first epochs; then pictures grow to input_size; none: all have that
    train_scales: tuple[int, int] | None = None  # pixels, the shorter side before the crop, uniform (the paper's S)
    train_areas: tuple[float, float] | None = None  # instead: the share of the photo that the crop shows, uniform
    train_border: float = 0.0  # share of the shorter side, mirrored around the photo: crops may reach into it
    flip: bool = True
    color_shift: float = 0.0  # standard deviation of the paper's colour shift; 0.1 in the paper
    trivial_augment: bool = False  # instead: one of fourteen edits of colour or shape, of random strength
    mixup: float = 0.0  # alpha; 0 = off
    cutmix: float = 0.0  # the share of batches
    fit: Fit = "crop"  # of photos into squares: letterbox fills them up, squash ignores their proportions
    test_resize: int = 146  # pixels, the shorter side of a photo to predict (the paper's Q)
    test_crop: int = 128  # pixels, the square in its centre
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of RGB in [0, 1]: ImageNet's
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)  # of RGB in [0, 1]; the paper only subtracts the mean

    # The run
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where it is faster
    on_nonfinite: Literal["stop", "roll back"] = "stop"  # roll back: to the epoch's start, at half the rate
    cache_gib: float = 4.0  # of photos decoded, or features computed, once for all epochs, at most; 0: in each anew
    checkpoint_minutes: float = 10.0  # between two saves of the state at most; less where saving is quick
    save_as: Literal["float32", "float16"] = "float16"  # of the numbers in the model file

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(Recipe).items():
            if not _is_of(getattr(self, name), kind):
                raise RecipeError(
                    f"{name} is {getattr(self, name)!r}; expected {_describe(kind)}.", "Change its value."
                )
        for name, value, smallest, largest in (
            ("epochs", self.epochs, 1, 100_000),
            ("batch_size", self.batch_size, 1, 1_000_000),
            ("micro_batch", self.micro_batch or self.batch_size, 1, self.batch_size),
            ("learning_rate", self.learning_rate, 0, 1000),
            ("muon_factor", self.muon_factor, 0, 1000),
            ("momentum", self.momentum, 0, _MOST_MOMENTUM if self.muon_factor else 1),
            ("weight_decay", self.weight_decay, 0, 1),
            ("dropout", self.dropout, 0, 1),
            ("initial_std", self.initial_std or 0, 0, 10),
            ("warmup_epochs", self.warmup_epochs, 0, self.epochs),
            ("first_size", self.input_size if self.first_size is None else self.first_size, 1, 16_384),
            ("patience", self.patience, 1, 100_000),
            ("drops", self.drops, 0, 100),
            ("label_smoothing", self.label_smoothing, 0, 1),
            ("box_weight", self.box_weight, 0, 1_000_000),
            ("margin", self.margin or 0, 0, 2),
            ("photos_per_class", self.photos_per_class, 2, 1_000_000),
            ("early_stopping", self.early_stopping or 1, 1, 100_000),
            ("head_epochs", self.head_epochs, 0, self.epochs - 1),
            ("layer_decay", self.layer_decay, 0, 1),
            ("views", self.views, 0, 1000),
            ("ema_decay", self.ema_decay, 0, 1),
            ("train_border", self.train_border, 0, 0.5),
            ("color_shift", self.color_shift, 0, 10),
            ("mixup", self.mixup, 0, 100),
            ("cutmix", self.cutmix, 0, 1),
            ("cache_gib", self.cache_gib, 0, 1_000_000),
            ("checkpoint_minutes", self.checkpoint_minutes, 0, 1_000_000),
            ("seed", self.seed, 0, 2**32 - 1),
            ("test_resize", self.test_resize, 1, 4096),
            ("test_crop", self.test_crop, 1, self.test_resize),
            *(("train_scales", scale, 1, 16_384) for scale in self.train_scales or ()),
            *(("pixel_mean", mean, -1e6, 1e6) for mean in self.pixel_mean),
            *(("pixel_std", std, 1e-6, 1e6) for std in self.pixel_std),
        ):
            if not smallest <= value <= largest:
                raise RecipeError(f"{name} is {value}; expected {smallest} to {largest}.", "Choose a value in between.")
        if self.train_scales and self.train_areas:
            raise RecipeError("train_scales and train_areas are two ways of the same.", "Set one of them to none.")
        if self.train_scales and not self.input_size <= self.train_scales[0] <= self.train_scales[1]:
            raise RecipeError(
                f"train_scales is {self.train_scales}; expected two growing numbers from {self.input_size} pixels on.",
                "A crop cannot be larger than the photo that it is taken from.",
            )
        if self.train_areas and not 0 < self.train_areas[0] <= self.train_areas[1] <= 1:
            raise RecipeError(f"train_areas is {self.train_areas}; expected two growing shares.", "For example 0.35,1")
        if self.train_border and self.train_areas:
            raise RecipeError("train_border goes with train_scales only.", "Set it to 0, or train_areas=none.")
        if self.color_shift and self.trivial_augment:
            raise RecipeError("color_shift and trivial_augment both change colours.", "Set one of them to 0 or false.")
        if self.initial_std is not None and self.initialization != "paper":
            raise RecipeError("initial_std goes with initialization=paper only.", "Set it to none.")
        if self.first_size and self.schedule == "plateau":
            raise RecipeError(
                "first_size does not go with schedule=plateau, which may end the run before the pictures have grown.",
                "Set first_size=none, or schedule=cosine.",
            )
        if self.head == "conv":
            raise RecipeError(
                "the head conv is the dense view of fc, with the same weights; it is not trained by itself.",
                "Train with head=fc, or with gap; `verydeep evaluate --protocol dense` takes the dense view.",
            )
        self._check_fit()
        self._check_task()
        self._check_stages()
        self._check_sizes()

    def _check_fit(self) -> None:
        """What goes with photos that become squares in another way than by a crop."""
        if self.fit == "letterbox" and self.train_border:
            raise RecipeError("train_border and fit=letterbox both add to a photo's sides.", "Set train_border=0.")
        if self.fit != "crop" and self.task == "segment":
            raise RecipeError(
                f"fit is {self.fit}; a network of pixels sees photos whole, in their own proportions.", "Set fit=crop."
            )

    def _check_task(self) -> None:
        """What goes with boxes and masks, which move as the picture does, and with embeddings."""
        if self.task != "classify" and (self.mixup or self.cutmix):
            which = "cutmix" if self.cutmix else "mixup"
            raise RecipeError(f"{which} goes with a classifier only.", f"Set {which}=0.")
        if self.task in ("localize", "segment") and (self.trivial_augment or self.train_border):
            which = "trivial_augment" if self.trivial_augment else "train_border"
            value = "false" if self.trivial_augment else "0"
            raise RecipeError(f"{which} changes shapes, and boxes and masks do not follow.", f"Set {which}={value}.")
        if self.task == "embed" and self.class_weights != "none":
            raise RecipeError(
                "class_weights goes with a head that tells classes, and the head is embedding.",
                "Set class_weights=none: batches for triplet and contrastive have as many photos of each class.",
            )
        if self.compares_photos:
            self._check_pairs()

    def _check_pairs(self) -> None:
        """What goes with a loss that compares the photos of a batch with each other."""
        if self.batch_size < 2 * self.photos_per_class:
            raise RecipeError(
                f"batch_size is {self.batch_size}, photos_per_class {self.photos_per_class}; expected photos of two "
                f"classes or more in a batch.",
                f"Set batch_size={2 * self.photos_per_class} or more.",
            )
        if self.micro_batch not in (None, self.batch_size):
            raise RecipeError(
                f"micro_batch is {self.micro_batch}; the {self.embedding_loss} loss compares all photos of a batch, so "
                f"that it has no parts.",
                "Set micro_batch=none and a smaller batch_size, or embedding_loss=softmax.",
            )

    def _check_stages(self) -> None:
        """What goes with layers that do not learn, and with a training that may end early."""
        if self.early_stopping == 0:
            raise RecipeError(
                "early_stopping is 0; expected 1 or more, or none.", "Set it to none to train to the end."
            )
        if self.trained == "head" and self.head_epochs:
            raise RecipeError("head_epochs goes with trained=all or last-block.", "Set head_epochs=0, or trained=all.")
        if self.schedule == "plateau" and (self.head_epochs or self.early_stopping):
            which = "head_epochs" if self.head_epochs else "early_stopping"
            raise RecipeError(f"{which} does not go with schedule=plateau.", "Set schedule=cosine.")
        if self.first_size and (self.trained != "all" or self.head_epochs or self.early_stopping):
            raise RecipeError(
                "first_size goes with trained=all, head_epochs=0 and early_stopping=none: pictures that grow are for "
                "layers that all learn, to the end.",
                "Set first_size=none.",
            )
        if self.cutmix and self.trained != "all" and self.stages[-1].has_views:
            raise RecipeError(
                f"cutmix pastes pixels, and with trained={self.trained} what learns sees features of whole views.",
                "Set cutmix=0, or views=0 to make the features of each epoch's own pictures.",
            )

    def _check_sizes(self) -> None:
        """Pools leave out the last row of an odd map: a network trained so never sees its border, and fails at it."""
        architecture = self.architecture(classes=2)
        architecture.check_input(self.test_crop, self.test_crop)
        if self.first_size and self.head != "gap":
            raise RecipeError(
                f"first_size goes with head=gap only, the head is {self.head}: its first layer fits one size.",
                "Set first_size=none, or head=gap.",
            )
        sizes = {"input_size": self.input_size, "first_size": self.first_size or 0, "test_crop": self.test_crop}
        for name, size in sizes.items():
            if size % architecture.stride:
                raise RecipeError(
                    f"{name} is {size}; expected a multiple of {architecture.stride}: pools leave out odd rows.",
                    f"Take {max(1, round(size / architecture.stride)) * architecture.stride}.",
                )

    def architecture(self, classes: int) -> Architecture:
        """The network that this recipe trains. Raises ArchitectureError."""
        return Architecture(
            configuration=self.configuration,
            head=self.head,
            classes=classes,
            input_size=self.input_size,
            width=self.width,
            batch_norm=self.batch_norm,
            boxes=self.boxes,
            dimensions=self.dimensions,
        )

    @property
    def task(self) -> Task:
        """What the network is to learn."""
        return self.architecture(classes=2).task

    @property
    def compares_photos(self) -> bool:
        """Whether the loss compares the photos of a batch with each other, and needs several of a class in it."""
        return self.task == "embed" and self.embedding_loss != "softmax"

    @property
    def preprocessing(self) -> Preprocessing:
        """How photos are made ready for validation and prediction."""
        return Preprocessing(self.test_resize, self.test_crop, self.pixel_mean, self.pixel_std, self.fit)

    @property
    def augmentation(self) -> Augmentation:
        """How photos are made ready for training, at the full size."""
        return Augmentation(
            crop=self.input_size,
            scales=self.train_scales,
            areas=self.train_areas,
            border=self.train_border,
            flip=self.flip,
            color_shift=self.color_shift,
            trivial_augment=self.trivial_augment,
            fit=self.fit,
            fill=fill_colour(self.preprocessing),
        )

    @property
    def augmentations(self) -> list[Augmentation]:
        """Of each epoch: at the sizes that its pictures have."""
        of_size = {size: self.at(size).augmentation for size in set(self.sizes)}
        return [of_size[size] for size in self.sizes]

    @property
    def view_augmentation(self) -> Augmentation:
        """How the views of a photo are cut out whose features are kept: as pictures of the size to predict."""
        share = self.test_crop / self.input_size
        scales = self.train_scales and (round(self.train_scales[0] * share), round(self.train_scales[1] * share))
        return dataclasses.replace(self.augmentation, crop=self.test_crop, scales=scales)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The rows of epochs in which the same layers learn, in order."""
        ends: list[tuple[int, Trained]] = [(self.head_epochs, "head")] if self.head_epochs else []
        stages: list[Stage] = []
        for end, trained in [*ends, (self.epochs, self.trained)]:
            has_views = trained != "all" and self.views > 0 and self.cache_gib > 0
            has_views = has_views and self.task in ("classify", "embed")  # else what is taught differs by the view
            stages.append(Stage(stages[-1].end if stages else 0, end, trained, has_views))
        return tuple(stages)

    def stage_of(self, epoch: int) -> Stage:
        """That of an epoch, counted from 0; the last one's where it is beyond the end."""
        return next((stage for stage in self.stages if epoch < stage.end), self.stages[-1])

    @property
    def sizes(self) -> list[int]:
        """The side of the pictures in each epoch, in pixels: from first_size on in steps of the network's stride.

        The full size has a third of the epochs at least; those below it share the others.
        """
        full = self.input_size
        steps = list(range(min(self.first_size or full, full), full + 1, self.architecture(classes=2).stride))
        if len(steps) == 1:
            return steps * self.epochs
        return [
            steps[min(len(steps) - 1, int((epoch + 1) / (_GROWING * self.epochs) * (len(steps) - 1)))]
            for epoch in range(self.epochs)
        ]

    @property
    def sizes_in_words(self) -> str:
        """ "64 pixels"; "32 to 64 pixels" where the pictures grow."""
        first, last = self.sizes[0], self.input_size
        return f"{last} pixels" if first == last else f"{first} to {last} pixels"

    def at(self, size: int) -> "Recipe":
        """This recipe with pictures of another size throughout; photos to predict are scaled and cropped in proportion.

        The crop is the nearest multiple of the network's stride: another would leave out a map's last row.
        """
        share, stride = size / self.input_size, self.architecture(classes=2).stride
        crop = max(1, round(self.test_crop * share / stride)) * stride
        scales = self.train_scales and (round(self.train_scales[0] * share), round(self.train_scales[1] * share))
        return dataclasses.replace(
            self,
            first_size=None,
            input_size=size,
            train_scales=scales,
            test_resize=round(self.test_resize * crop / self.test_crop),
            test_crop=crop,
        )

    def with_settings(self, settings: Mapping[str, str]) -> "Recipe":
        """A copy with fields set from text, as `--set field=value` gives them. Raises RecipeError."""
        return self.with_fields(self.parsed(settings))

    @staticmethod
    def parsed(settings: Mapping[str, str]) -> dict[str, Any]:
        """The values of fields from text; an unknown one stays text. Raises RecipeError."""
        kinds = typing.get_type_hints(Recipe)
        known = {name: _parse(name, text, kinds[name]) for name, text in settings.items() if name in kinds}
        return {**settings, **known}

    def with_fields(self, fields: Mapping[str, Any]) -> "Recipe":
        """A copy with fields of these values. Raises RecipeError."""
        known = [field.name for field in dataclasses.fields(Recipe)]
        if unknown := sorted(set(fields) - set(known)):
            raise RecipeError(f"a recipe has no field {', '.join(unknown)}.", f"It has {', '.join(known)}.")
        return dataclasses.replace(self, **fields)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        fields = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Recipe":
        """The inverse of `to_dict`; a field that an older version did not know has its default. Raises RecipeError."""
        if not isinstance(fields, Mapping):
            raise RecipeError(f"a recipe is {fields!r}; expected fields and their values.", "Is the file damaged?")
        return cls().with_fields({n: tuple(value) if isinstance(value, list) else value for n, value in fields.items()})


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value is of a type of the recipe's fields; a whole number is a number, too, but a bool is not."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return any(_is_of(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(arguments) and all(map(_is_of, value, arguments))
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _parse(name: str, text: str, kind: Any) -> Any:
    """text -> a value of the type `kind`."""
    try:
        return _parse_as(text.strip(), kind)
    except ValueError as error:
        raise RecipeError(f"{name}={text} is not {_describe(kind)}.", "Example: --set epochs=30") from error


def _parse_as(text: str, kind: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # X | None
        return None if text.lower() == "none" else _parse_as(text, arguments[0])
    if origin is Literal:
        if text not in arguments:
            raise ValueError(text)
        return text
    if origin is tuple:
        parts = text.strip("()").split(",")
        return tuple(_parse_as(part, item) for part, item in zip(parts, arguments, strict=True))
    if kind is bool:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[_known_bool(text)]
    return kind(text)


def _known_bool(text: str) -> str:
    if text.lower() not in ("true", "yes", "1", "false", "no", "0"):
        raise ValueError(text)
    return text.lower()


def _describe(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return f"{_describe(arguments[0])} or none"
    if origin is Literal:
        return " or ".join(arguments)
    if origin is tuple:
        return f"{len(arguments)} values separated by commas"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
