"""What verydeep does, in about a minute: `make demo`.

First its built-in models look at five pictures. Then a small VGG learns to read handwritten digits from scratch. Each
step is a command that you can type yourself. All pictures go to the folder demo/, which git ignores.

They come with scikit-image, free for any use: the astronaut Eileen Collins (NASA, public domain), Chelsea the cat
(Stefan van der Walt, CC0), a cup of coffee (Rachel Michetti, CC0), the shape of a horse (Andreas Preuss, CC0), a Falcon
9 (SpaceX, public domain). The digits come with scikit-learn: E. Alpaydin and C. Kaynak (1998), UCI Machine Learning
Repository.
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

from verydeep import Predictor
from verydeep.image import annotate, contact_sheet, read_image
from verydeep.nouns import Prediction

PHOTOS = {
    "astronaut": skimage.data.astronaut,
    "cat": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "horse": skimage.data.horse,
    "rocket": skimage.data.rocket,
}


NEXT = """
Yours to try:
  verydeep predict YOUR-PHOTO.jpg           what the built-in model says of it
  verydeep train YOUR-FOLDER                one folder of photos for each class
  verydeep describe D --picture vgg16.svg   the paper's VGG-16, layer by layer
docs/tutorial/first-classifier.md goes on from here."""


def main(folder: Path = Path("demo"), models: Sequence[str] = ("cifar10", "imagenette"), epochs: int = 6) -> None:
    """models: names or files of those that look at the photos. epochs: of the training."""
    classify_photos(folder, models)
    read_digits(folder, epochs)
    print(NEXT)


def classify_photos(folder: Path, models: Sequence[str]) -> None:
    """Each model knows ten classes only, and should say so of what is none of them."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for name, load in PHOTOS.items():
        Image.fromarray(load()).save(folder / "photos" / f"{name}.png")
    for model in models:
        answers = folder / f"photos-{Path(model).stem}"
        verydeep("predict", folder / "photos", "--model", model, "--top", 3, "--out", answers)
        show([Image.open(path) for path in sorted(answers.glob("*.jpg"))], answers.with_suffix(".jpg"))


def read_digits(folder: Path, epochs: int) -> None:
    """From 1,437 pictures of digits to a network that reads the 360 others."""
    digits, reader = folder / "digits", folder / "reader"
    write_digits(digits)
    shutil.rmtree(reader, ignore_errors=True)  # of an earlier demo
    settings = {"width": 0.25, "epochs": epochs, "batch_size": 64, "flip": "false", "cutmix": 0}
    options = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    verydeep("train", digits, "--recipe", "small", "--out", reader, *options)
    verydeep("evaluate", reader, digits)
    print("The twelve digits that it is least sure of:")
    show(doubtful(reader, sorted(digits.glob("val/*/*.png")), 12), folder / "doubtful-digits.jpg")


def write_digits(folder: Path) -> None:
    """Pictures of 32 x 32 pixels as FOLDER/train/<digit>/<number>.png, the last 360 into FOLDER/val."""
    pictures, labels = sklearn.datasets.load_digits(return_X_y=True)
    for number, (values, label) in enumerate(zip(pictures, labels, strict=True)):
        grey = (values.reshape(8, 8) * (255 / 16)).astype(np.uint8)  # the values go from 0 to 16
        path = folder / ("train" if number < 1437 else "val") / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).resize((32, 32), Image.Resampling.BICUBIC).save(path)


def doubtful(model: Path, photos: Sequence[Path], count: int) -> list[Image.Image]:
    """The photos that a model is least sure of, with what it says of them."""
    answers = [answer for answer in Predictor(model).predict_many(photos, k=3) if isinstance(answer, Prediction)]
    answers.sort(key=lambda answer: answer.probability)
    return [annotate(read_image(answer.path), answer) for answer in answers[:count]]


def verydeep(*arguments: object) -> None:
    """Runs a command, and shows it as one would type it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ verydeep {shlex.join(words)}\n", flush=True)
    done = subprocess.run([sys.executable, "-m", "verydeep", *words], check=False)  # noqa: S603, our own words
    if done.returncode:
        sys.exit(done.returncode)  # the command has said why


def show(cards: Sequence[Image.Image], path: Path) -> None:
    """Annotated photos on one sheet."""
    contact_sheet(cards).save(path)
    print(f"Look at {path}")


if __name__ == "__main__":
    main()
