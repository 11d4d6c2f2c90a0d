"""Another copy of the package than the one installed, in a process of its own."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path


def run_with(copy: Path, code: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `code` where `import verydeep` finds the package in `copy`, and all else what is installed.

    Without Python's `site` (-S): it would run the start-up code of an editable install, whose hook finds the
    repository's package before any path is looked at.
    """
    installed = sysconfig.get_paths()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy), installed["purelib"], installed["platlib"]])}
    return subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
