"""Makes the pictures of the tutorials by the tutorials' own commands: `python docs/tutorial_pictures.py [NAME...]`.

Each page's blocks are run in a folder of their own, as its test runs them, and what came of them is laid side by side
in docs/pictures/NAME.jpg. The photos in them come with scikit-image and are free for any use. Takes minutes; what is
made is to be looked at.
"""

import io
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from verydeep import Predictor
from verydeep.data.datasets import Dataset, open_splits
from verydeep.image import annotate, contact_sheet, read_image
from verydeep.image.draw_objects import object_card
from verydeep.nouns import Prediction
from verydeep.predict import Embedder
from verydeep.predict.embedder import most_alike

REPOSITORY = Path(__file__).parents[1]
WIDTH, LARGEST = 1200, 95_000  # of a picture, in pixels and in bytes
sys.path.append(str(REPOSITORY / "tests" / "end_to_end"))

from pages import run_blocks  # noqa: E402, the tests' own


def main(names: Iterable[str]) -> None:
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            run_blocks(REPOSITORY / "docs" / "tutorial" / f"{name}.md", Path(folder))
            sheet = PICTURES[name](Path(folder))
        path = REPOSITORY / "docs" / "pictures" / f"{name}.jpg"
        path.write_bytes(jpeg(sheet))
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def jpeg(sheet: Image.Image) -> bytes:
    """As good as fits."""
    picture = sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width)), Image.Resampling.LANCZOS)
    for quality in range(90, 0, -5):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= LARGEST:
            break
    return file.getvalue()


def localization(folder: Path) -> Image.Image:
    """What the model says of photos that it did not learn from, the first two of each class."""
    photos = open_splits(folder / "pictures", task="localize").validation
    chosen = [path for label in range(len(photos.classes)) for path in of_class(photos, label)[:2]]
    return contact_sheet(cards(folder / "things", chosen), columns=4)


def segmentation(folder: Path) -> Image.Image:
    """Both new photos, each with its classes in colour beside it."""
    pictures = []
    for number in (40, 41):
        answer = Image.open(folder / "masks" / f"{number}-predicted.jpg")
        photo = Image.open(folder / "new" / f"{number}.png")
        pictures += [photo.resize((answer.width, round(photo.height * answer.width / photo.width))), answer]
    return contact_sheet(pictures, columns=4)


def fine_tuning(folder: Path) -> Image.Image:
    """What the model says of a photo of each class before, and below that what it says after the training."""
    photos = open_splits(folder / "surfaces").validation
    chosen = [of_class(photos, label)[0] for label in range(len(photos.classes))]
    pairs = zip(cards("imagenette", chosen), cards(folder / "surfaces-head", chosen), strict=True)
    return contact_sheet([contact_sheet(pair, columns=1) for pair in pairs], columns=len(chosen))


def search(folder: Path) -> Image.Image:
    """Two photos, a row each, with those most like it and how alike they are."""
    paths = sorted((folder / "album").iterdir())
    vectors = np.stack(list(Embedder("imagenette").embed_many(paths)))
    rows = []
    for name in ("cat.png", "gravel-05.png"):
        asked = paths.index(folder / "album" / name)
        order, cosines = most_alike(vectors, vectors[asked])
        found = [(at, f"{cosines[at]:.3f}") for at in order.tolist() if at != asked][:3]
        row = [
            object_card(read_image(paths[at]), (), {}, paths[at].name, aside)
            for at, aside in [(asked, "the photo"), *found]
        ]
        rows.append(contact_sheet(row, columns=len(row)))
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for number, row in enumerate(rows):
        sheet.paste(row, (0, sum(above.height for above in rows[:number])))
    return sheet


def of_class(photos: Dataset, label: int) -> list[Path]:
    return [Path(str(path)) for path, own in zip(photos.paths, photos.labels, strict=True) if own == label]


def cards(model: str | Path, photos: Iterable[Path]) -> list[Image.Image]:
    """As `verydeep predict --out` draws them."""
    answers = Predictor(model).predict_many(photos, k=3)
    return [annotate(read_image(answer.path), answer) for answer in answers if isinstance(answer, Prediction)]


PICTURES: dict[str, Callable[[Path], Image.Image]] = {
    "localization": localization,
    "segmentation": segmentation,
    "fine-tuning": fine_tuning,
    "search": search,
}

if __name__ == "__main__":
    main(sys.argv[1:] or PICTURES)
