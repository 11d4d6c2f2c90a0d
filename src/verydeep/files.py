"""Writing files so that a reader finds the old content or the new, never half of it."""

import contextlib
import errno
import os
from pathlib import Path

from verydeep.errors import StorageError

_REASONS = {
    errno.ENOSPC: ("the disk is full", "Free some space, or choose another folder."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, or choose another folder."),
    errno.EACCES: ("permission is denied", "Choose a folder that you may write to."),
    errno.EPERM: ("permission is denied", "Choose a folder that you may write to."),
    errno.EROFS: ("the file system is read-only", "Choose a folder that you may write to."),
    errno.EEXIST: ("a file of that name is in the way", "Choose another name."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Choose another name."),
    errno.EISDIR: ("there is a folder of that name", "Choose another name."),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter name."),
}


def storage_error(path: str | Path, error: OSError) -> StorageError:
    """The one-line form of what the operating system said when `path` was written."""
    reason, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), "Check the disk and the path."))
    return StorageError(f"cannot write {path}: {reason}.", hint)


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder; False, too, where nothing may be looked up or the name is too long for a file."""
    return os.path.isdir(path)  # noqa: PTH112, Path.is_dir raises on those


def make_folder(path: str | Path) -> Path:
    """Creates `path` and its parents where they are missing. Raises StorageError."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    return folder


def atomic_write(path: str | Path, data: bytes | str, *, is_durable: bool = True) -> None:
    """Replaces the content of `path` as a whole; text is written as UTF-8. Raises StorageError, the old file intact.

    A temporary file in the same folder is written, flushed to the disk and renamed; then the folder is flushed, since
    a rename is on the disk only when its folder is. A link stays one: the file that it names is replaced.
    is_durable: False for what can be made again: nothing is flushed, and a power cut may lose it.
    """
    path = Path(path)
    # A file name that is no text may be part of it: its bytes are spelt out.
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data
    make_folder(path.parent)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".verydeep-{os.urandom(8).hex()}.tmp")
    try:
        _refuse_device(target)
        with temporary.open("xb") as file:
            file.write(content)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
        if is_durable:
            _flush_folder(target.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:  # also at Ctrl-C; after the rename there is none
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _refuse_device(path: Path) -> None:
    """A rename would put a file in the place of /dev/null, for every program of this machine."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file")


def _flush_folder(folder: Path) -> None:
    """Where it is possible: some file systems flush no folders, and one that may not be read cannot be opened."""
    if os.name == "nt":  # Windows cannot open a folder, and does not need it
        return
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(handle)
