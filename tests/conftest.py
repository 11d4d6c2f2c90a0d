"""What all tests share: the data beside the repository, and shapes of tensors checked at every call."""

import importlib.util
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

if importlib.util.find_spec("jaxtyping") and importlib.util.find_spec("torch"):
    from jaxtyping import install_import_hook

    install_import_hook("verydeep.network", "beartype.beartype")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of photo collections beside the repository; tests that need it skip where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the photo collections in {folder}")
    return folder
