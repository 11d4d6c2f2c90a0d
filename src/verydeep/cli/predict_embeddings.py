"""Of `verydeep predict`, what it does with an embedding model: the vector of each photo, as JSON or CSV."""

from collections.abc import Iterator

from verydeep.cli.answers import Asked, Csv, Embedding, Json, Output, tell_answers
from verydeep.cli.document import JsonDocument
from verydeep.errors import UsageError
from verydeep.image.stream import Source
from verydeep.nouns import Failure
from verydeep.predict import Embedder


def check_embeds(style: str, out: str | None) -> None:
    """Raises UsageError where a person would see hundreds of numbers, and where something is to be drawn."""
    if out or style == "text":
        what = "draws nothing" if out else "tells no classes"
        raise UsageError(
            f"this is an embedding model: it makes a vector of each photo, by which photos are compared, and {what}.",
            "Find photos that are alike: verydeep search PHOTO --in FOLDER --model MODEL. For the vectors: --json",
        )


def predict_embeddings(embedder: Embedder, asked: Asked) -> int:
    """The exit code."""
    dimensions = embedder.model.info.architecture.dimensions
    output: Output[Embedding]
    if asked.style == "csv":
        output = Csv([f"e{number}" for number in range(1, dimensions + 1)], _csv_line)
    else:
        output = Json(JsonDocument(embedder.model, asked.precision, {"dimensions": dimensions}), _fields)

    def answer(photos: list[Source]) -> Iterator[Embedding | Failure]:
        for vector in embedder.embed_many(photos, asked.batch_size):
            yield vector if isinstance(vector, Failure) else Embedding("", vector)

    return tell_answers(asked, answer, output, "embedded")


def _csv_line(embedding: Embedding) -> str:
    return ",".join(f"{value:.6f}" for value in embedding.vector.tolist())  # no formulas, though - begins some


def _fields(embedding: Embedding) -> dict[str, object]:
    return {"path": embedding.path, "embedding": [round(value, 6) for value in embedding.vector.tolist()]}
