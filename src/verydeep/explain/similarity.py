"""(opened model, photo, another photo) -> SimilarityExplanation: what in the photo makes it like the other.

The number that is explained is the cosine of the two photos' embeddings, as `verydeep search` prints it. Its gradient
goes the way of any other: see backward.py.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from verydeep.errors import UsageError
from verydeep.explain.backward import Values, record, unit_back
from verydeep.explain.explanation import check_layer, last_map, subject_of, view, with_six_digits
from verydeep.explain.methods import METHODS, Map, Question, Settings
from verydeep.image import crop_box, preprocess
from verydeep.outputs import embedding_output, embeddings
from verydeep.runtime import OpenedModel

METHODS_OF_A_SIMILARITY = tuple(name for name in METHODS if name != "occlusion")  # which asks for a class


@dataclass(frozen=True)
class Similarity:
    """The number that is explained: the cosine of a photo's features with those of another photo."""

    output: str  # "logits" of an embedding model; of a classifier "gap" or "relu7"
    other: np.ndarray  # (d,) of length 1, what `embeddings` makes of the other photo

    def score(self, values: Values) -> float:
        return float(embeddings(values[self.output][np.newaxis])[0] @ self.other)

    def signal(self, values: Values) -> np.ndarray:
        """Its derivative by the features: of a map, whose mean is compared, an equal part at each position."""
        features = values[self.output]
        other = self.other.astype(features.dtype)
        if features.ndim == 1:
            return unit_back(other, features)
        back: np.ndarray = unit_back(other, features.mean(axis=(1, 2))) / features[0].size
        return np.broadcast_to(back[:, None, None], features.shape)


@dataclass(frozen=True)
class SimilarityExplanation:
    """Where in a photo its similarity to another one comes from, by one method."""

    method: str
    layer: str  # gradcam: whose maps; of the others ""
    target: Similarity
    score: float  # the cosine
    box: tuple[float, float, float, float]  # what the network saw, in pixels of the photo: see `crop_box`
    map: Map

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: the values with six digits."""
        return {
            "method": self.method,
            "layer": self.layer,
            "target": {"output": self.target.output, "similarity": self.score},
            "box": list(self.box),
            "first_center": self.map.first_center,
            "step": self.map.step,
            "figures": dict(self.map.figures),
            "values": with_six_digits(self.map.values),
        }


def similarity_to(model: OpenedModel, other: np.ndarray, *, is_dense: bool = False) -> Similarity:
    """What is explained where photos are compared with `other`, (H, W, 3) uint8 RGB.

    Raises UsageError on a model that answers for pixels, ImageError and ArchitectureError where the photo does not fit.
    """
    subject = subject_of(model, is_dense)
    output = embedding_output(subject.architecture)
    values = record(subject, preprocess(other, model.info.preprocessing, is_dense), (output,))
    return Similarity(output, embeddings(values[output][np.newaxis])[0])


def explain_similarity(
    model: OpenedModel,
    photo: np.ndarray,
    target: Similarity,
    method: str = "gradcam",
    *,
    layer: str | None = None,
    is_dense: bool = False,
    settings: Settings | None = None,
) -> SimilarityExplanation:
    """What makes a photo like the one that `target` was made of, by `similarity_to`.

    photo: (H, W, 3) uint8 RGB. layer: of gradcam, by default the last convolution's after its ReLU. is_dense: the model
    was opened so. Raises UsageError as `check_similarity` does.
    """
    check_similarity(model, method, layer=layer, is_dense=is_dense)
    subject = subject_of(model, is_dense)
    if method == "gradcam":
        layer = layer or last_map(subject.architecture)
    image = preprocess(photo, model.info.preprocessing, is_dense)
    values = record(subject, image, (*([layer] if layer else []), target.output))
    question = Question(subject, values, target, layer or "", 1.0, settings or Settings())
    return SimilarityExplanation(
        method=method,
        layer=layer or "",
        target=target,
        score=target.score(values),
        box=crop_box(photo.shape, model.info.preprocessing, is_dense),
        map=METHODS[method].compute(question),
    )


def check_similarity(model: OpenedModel, method: str, *, layer: str | None = None, is_dense: bool = False) -> None:
    """What `explain_similarity` refuses whatever the photo. Raises UsageError."""
    if method not in METHODS_OF_A_SIMILARITY:
        raise UsageError(
            f"the method {method} does not explain a similarity; {', '.join(METHODS_OF_A_SIMILARITY)} do.",
            "Choose one of these.",
        )
    if layer is not None and method != "gradcam":
        raise UsageError(f"the method {method} takes no layer where a similarity is explained.", "Leave the layer out.")
    embedding_output(model.info.architecture)
    if layer is not None:
        check_layer(view(model, is_dense), layer, needs_map=True)
