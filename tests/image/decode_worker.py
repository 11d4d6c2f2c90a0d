"""Decodes the files named on standard input in a process of their own and prints what came of each as JSON.

    python tests/image/decode_worker.py photo|all [--measure] [--fault FAULT] < paths

FAULT: one of faults.py. With --measure every file has a fresh copy of the process, and its extra memory is the growth
of the peak that Linux keeps (VmHWM, set back through /proc/self/clear_refs).
"""

import json
import os
import sys
import time
from pathlib import Path

from faults import plant

from verydeep.errors import ImageError
from verydeep.image import ALL_FORMATS, PHOTO_FORMATS, read_image
from verydeep.image.readers import READERS

FORMATS = {"photo": PHOTO_FORMATS, "all": ALL_FORMATS}


def main() -> None:
    formats = FORMATS[sys.argv[1]]
    if "--fault" in sys.argv:
        plant(sys.argv[sys.argv.index("--fault") + 1])
    paths = sys.stdin.read().splitlines()
    if "--measure" in sys.argv:
        for name in formats:  # the plugins' own memory is not the file's
            __import__(READERS[name].partition(":")[0])
        for path in paths:
            _measure(path, formats)
    else:
        for path in paths:
            print(json.dumps(_attempt(path, formats)))
        print(json.dumps({"plugins": sorted(m for m in sys.modules if m.startswith("PIL.") and "Plugin" in m)}))


def _attempt(path: str, formats: tuple[str, ...]) -> dict[str, object]:
    start = time.process_time()
    outcome: dict[str, object]
    try:
        picture = read_image(path, formats=formats)
        outcome = {"shape": picture.shape, "corner": picture[0, 0].tolist()}
    except ImageError as error:
        outcome = {"error": error.message}
    except BaseException as error:
        outcome = {"bug": repr(error)}
    return {"path": path, **outcome, "cpu_seconds": time.process_time() - start}


def _measure(path: str, formats: tuple[str, ...]) -> None:
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0, f"{path}: the process ended with {status}"
        return
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_kib()
    outcome = _attempt(path, formats)
    print(json.dumps({**outcome, "extra_mib": (_peak_kib() - before) / 1024}), flush=True)
    os._exit(0)


def _peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
