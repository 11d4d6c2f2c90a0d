"""Uses all of verydeep in a process of its own, and prints as JSON what it did to the switches of the whole process.

    python tests/image/switches.py FILES FAULT < paths

Every module that can be imported here is; then the files named on standard input are decoded, and so many damaged ones.
"""

import importlib
import json
import logging
import pkgutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image, ImageFile


def main(files: int, fault: str) -> None:
    before, filters = switches(), filters_of_verydeep()
    imported, missing = import_everything(fault)
    is_filtered, loaded = bool(filters), list(warnings.filters)
    decoded = decode_everything(files, fault)
    changed = [name for name, value in switches().items() if value != before[name]]
    if is_filtered or warnings.filters != loaded:
        changed.append("warnings")
    print(json.dumps({"imported": imported, "missing": missing, "decoded": decoded, "changed": changed}))


def switches() -> dict[str, Any]:
    """What belongs to the program that uses verydeep. The filters of warnings are not among them: torch adds some."""
    return {
        "MAX_IMAGE_PIXELS": Image.MAX_IMAGE_PIXELS,
        "LOAD_TRUNCATED_IMAGES": ImageFile.LOAD_TRUNCATED_IMAGES,
        "showwarning": warnings.showwarning,
        "logging": (logging.root.level, list(logging.root.handlers)),
    }


def filters_of_verydeep() -> list[str]:
    """Grows with each filter of warnings that a module of verydeep sets from now on, while it is imported."""
    found: list[str] = []

    def watch(name: str) -> None:
        original = getattr(warnings, name)

        def watched(*arguments: Any, **options: Any) -> None:
            caller = sys._getframe(1).f_globals["__name__"]
            if caller.startswith("verydeep"):
                found.append(caller)
            original(*arguments, **options)

        setattr(warnings, name, watched)

    watch("simplefilter")
    watch("filterwarnings")
    return found


def import_everything(fault: str) -> tuple[int, list[str]]:
    """How many modules, and those that need what is not installed. With a fault: only what decodes, which is faster."""
    import damaged_photos  # noqa: F401

    import verydeep

    names = [module.name for module in pkgutil.walk_packages(verydeep.__path__, "verydeep.")] if not fault else []
    imported: list[ModuleType] = []
    missing = []
    for name in names:
        if name.endswith("__main__"):  # it would run
            continue
        try:
            imported.append(importlib.import_module(name))
        except ImportError as error:
            if (error.name or "").startswith("verydeep"):
                raise
            missing.append(name)
    return len(imported), missing


def decode_everything(files: int, fault: str) -> int:
    from damaged_photos import mutated, seeds
    from faults import plant

    from verydeep.errors import ImageError
    from verydeep.image import ALL_FORMATS, decode

    plant(fault)
    originals = seeds()
    data = originals + [mutated(originals, number) for number in range(files)]
    data += [Path(path).read_bytes() for path in sys.stdin.read().splitlines()]
    for number, one in enumerate(data):
        try:
            decode(one, str(number), formats=ALL_FORMATS)
        except ImageError:
            continue
    return len(data)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
