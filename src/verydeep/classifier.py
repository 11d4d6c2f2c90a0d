"""fit, predict, predict_proba, score: a VGG for people who are used to scikit-learn.

from verydeep import Classifier

model = Classifier(folder="ants-and-bees", epochs=20).fit("photos/")
model.predict(["a.jpg", "b.jpg"])
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.data.datasets import Dataset, open_splits, split
from verydeep.errors import DatasetError, UsageError
from verydeep.predict import Predictor
from verydeep.recipes import load_recipe
from verydeep.runtime.torch_engine import find_device
from verydeep.train.display import Display
from verydeep.train.loop import train
from verydeep.train.run import create_run
from verydeep.train.start import Start, begin_from, check_start, open_start


class Classifier:
    """Trains a network on photos and answers with it.

    folder: where the run is written, new or empty. recipe: a name of `verydeep.recipes.RECIPES`. device: "auto", "cpu",
    "cuda" or "mps". start: a trained model to begin from, as `open_model` takes it; the recipe is then "finetune"
    unless another is named. settings: fields of the recipe to change, such as epochs=20. Raises RecipeError and
    ModelFileError.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        recipe: str | None = None,
        device: str = "auto",
        start: str | Path | None = None,
        **settings: Any,
    ) -> None:
        self.folder = Path(folder)
        self.device = device
        chosen = load_recipe(recipe or ("modern" if start is None else "finetune"))
        self._start: Start | None = None
        if start is None:
            self.recipe = chosen.with_fields(settings)
            check_start(self.recipe)
        else:
            self._start, info = open_start(start)
            self.recipe = begin_from(chosen, info, settings)
        if self.recipe.task != "classify":
            raise UsageError(
                f"a Classifier learns the class of a photo; this recipe's network is to {self.recipe.task}.",
                "Train it by `verydeep train`.",
            )
        self._predictor: Predictor | None = None

    def fit(
        self,
        photos: str | Path | Sequence[str | Path],
        labels: Sequence[str] | None = None,
        *,
        format: str | None = None,
        root: str | Path | None = None,
    ) -> "Classifier":
        """Trains on what `verydeep train` takes, such as class folders, or on paths of photos with the label of each.

        A fifth of each class validates, unless the folder or its annotations say which photos do. format, root: of a
        folder, as `open_splits` takes them. Raises DatasetError.
        """
        display = Display()
        if isinstance(photos, (str, Path)):
            if labels is not None:
                raise UsageError("labels go with a list of photos, not with a folder.", "Leave them out.")
            data, splits = Path(photos), open_splits(photos, self.recipe.seed, format, root, display.note)
        elif format is not None or root is not None:
            raise UsageError("format and root go with a folder, not with a list of photos.", "Leave them out.")
        else:
            data, splits = None, split(_labelled(photos, labels), self.recipe.seed)
        find_device(self.device)  # before a folder is made
        run = create_run(
            self.folder,
            self.recipe,
            data,
            ("Classifier.fit",),
            {},
            format=splits.training.format,
            root=Path(root) if root is not None else None,
            start=self._start,
        )
        try:
            train(run, splits, display, self.device)
        finally:
            display.close()
        self._predictor = Predictor(self.folder, device=self.device)
        return self

    @property
    def classes_(self) -> np.ndarray:
        """The names of the classes, in the order of `predict_proba`'s columns: (classes,) of str."""
        return np.array(self._fitted().classes)

    def predict(self, photos: Sequence[str | Path]) -> np.ndarray:
        """The most probable class of each photo: (len(photos),) of str. Raises ImageError, UsageError before `fit`."""
        labels: np.ndarray = self.classes_[self.predict_proba(photos).argmax(axis=1)]
        return labels

    def predict_proba(self, photos: Sequence[str | Path]) -> np.ndarray:
        """The probability of each class for each photo: (len(photos), classes) float64, each row adds to 1."""
        return self._fitted().predict_proba(photos)

    def score(self, photos: Sequence[str | Path], labels: Sequence[str]) -> float:
        """The share of photos whose most probable class is their label: top-1, as `predict` sees photos."""
        _check_lengths(photos, labels)
        return float((self.predict(photos) == np.asarray(labels, str)).mean())

    def _fitted(self) -> Predictor:
        if self._predictor is None:
            raise UsageError("this Classifier has not been trained.", "Call fit first.")
        return self._predictor


def _labelled(photos: Sequence[str | Path], labels: Sequence[str] | None) -> Dataset:
    if labels is None:
        raise UsageError("photos in a list need labels.", "fit(photos, labels), or fit(folder of class folders)")
    _check_lengths(photos, labels)
    classes = tuple(sorted({str(label) for label in labels}))
    if len(classes) < 2:
        raise DatasetError(
            f"all labels are {', '.join(classes) or 'missing'}; expected two classes or more.", "Add some."
        )
    positions = {name: position for position, name in enumerate(classes)}
    return Dataset(classes, tuple(Path(photo) for photo in photos), tuple(positions[str(label)] for label in labels))


def _check_lengths(photos: Sequence[Any], labels: Sequence[Any]) -> None:
    if len(photos) != len(labels) or not len(photos):
        raise UsageError(f"{len(photos)} photos and {len(labels)} labels; expected as many of each.", "Pair them.")
