"""Answers that are no numbers are no answers: they are told with the photo's name."""

from collections.abc import Iterable

import numpy as np

from verydeep.errors import NonFiniteError
from verydeep.image.decode import name_of
from verydeep.nouns import StoredPhoto


def check_finite(values: np.ndarray, paths: Iterable[StoredPhoto]) -> None:
    """Raises NonFiniteError where a network gives NaN or infinity. values: (n, ...), of these n photos."""
    for value, path in zip(values, paths, strict=True):
        if not np.isfinite(value).all():
            raise NonFiniteError(
                f"the network gives NaN or infinity for {name_of(path)}.",
                "In training: it diverged, lower the learning rate. Otherwise: run it with precision float32.",
            )
