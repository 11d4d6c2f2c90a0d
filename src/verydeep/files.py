"""Writing files so that a reader finds the old content or the new, never half of it."""

import contextlib
import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from verydeep.errors import StorageError, UsageError

_UNFINISHED = ".verydeep-"

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


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_folder(path: str | Path) -> Path:
    """Creates `path` and its parents where they are missing, also after a power cut. Raises StorageError."""
    folder = Path(path)
    try:
        missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
        folder.mkdir(parents=True, exist_ok=True)
        for each in missing:
            _flush_folder(each.parent)
    except OSError as error:
        raise storage_error(folder, error) from error
    return folder


def cache_folder() -> Path:
    """Where files are kept that can be made again: $VERYDEEP_CACHE, or the system's place for them.

    Raises StorageError where the system does not know where this user's home is.
    """
    if chosen := os.environ.get("VERYDEEP_CACHE"):
        return Path(chosen)
    variable = {"win32": "LOCALAPPDATA", "darwin": ""}.get(sys.platform, "XDG_CACHE_HOME")
    try:
        below = {"win32": "AppData/Local", "darwin": "Library/Caches"}.get(sys.platform, ".cache")
        return Path(os.environ.get(variable) or Path.home() / below) / "verydeep"
    except RuntimeError as error:
        raise StorageError(f"there is no folder for caches: {error}", "Name one: VERYDEEP_CACHE=FOLDER") from error


def atomic_write(path: str | Path, data: bytes | str, *, is_durable: bool = True) -> None:
    """Replaces the content of `path` as a whole; text is written as UTF-8. Raises StorageError, the old file intact.

    is_durable: False for what can be made again: nothing is flushed, and a power cut may lose it.
    """
    # A file name that is no text may be part of it: its bytes are spelt out.
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data
    with replacing(path, is_durable=is_durable) as temporary, temporary.open("xb") as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: str | Path, *, is_durable: bool = True) -> Iterator[Path]:
    """The path of a temporary file to write; at the block's end it takes the place of `path`. Raises StorageError.

    It lies in the same folder, and is flushed to the disk before it is renamed; then the folder is flushed, since a
    rename is on the disk only when its folder is. A link stays one: the file that it names is replaced. Where the
    block fails, the old file is intact.
    """
    path = Path(path)
    make_folder(path.parent)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{_UNFINISHED}{os.urandom(8).hex()}.tmp")
    try:
        _refuse_device(target)
        yield temporary
        if is_durable:
            _flush(temporary)
        temporary.replace(target)
        if is_durable:
            _flush_folder(target.parent)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error
    finally:  # also at Ctrl-C; after the rename there is none
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def is_unfinished(path: Path) -> bool:
    """Whether a file is one that `replacing` was writing, or that a process left which was killed meanwhile."""
    return path.name.startswith(_UNFINISHED)


def remove_unfinished(folder: Path, *prefixes: str) -> None:
    """Deletes what a process that was killed left of the files it was writing into `folder`.

    prefixes: what other names begin with that are temporary.
    """
    for prefix in (_UNFINISHED, *prefixes):
        for path in folder.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):  # it takes room, and harms nothing
                path.unlink(missing_ok=True)


def make_room(path: Path, size: int, limit_bytes: int) -> None:
    """Makes room for a file of `size` bytes at `path`, in a folder of files that can be made again.

    Deletes what was left of such files by processes that were killed, and those of the same suffix that were not used
    for longest, until all of them together take at most `limit_bytes`; never one that is held.
    """
    with contextlib.suppress(OSError):  # what another run deletes at the same time, or nobody may delete, is no matter
        for unfinished in path.parent.glob(f"{_UNFINISHED}*.tmp"):
            _delete_unused(unfinished)
        others = [(other.stat(), other) for other in path.parent.glob("*" + path.suffix) if other != path]
        total = size + sum(status.st_size for status, _ in others)
        for status, other in sorted(others, key=lambda item: item[0].st_mtime):
            if total <= limit_bytes:
                break
            if _delete_unused(other):
                total -= status.st_size


def _delete_unused(path: Path) -> bool:
    with contextlib.suppress(OSError):  # Windows deletes no file that is open
        with path.open("rb") as file:
            if not hold(file, is_shared=False):
                return False
        path.unlink()
        return True
    return False


def hold(file: BinaryIO, *, is_shared: bool) -> bool:
    """Whether `make_room` leaves the file alone from now on, for as long as it or its mapping is open.

    is_shared: others may hold it, too. False where others hold it. A file system without locks counts as held: a file
    that is deleted while it is used stays readable to whoever has it open, and Windows deletes no file that is open.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def sole_use(path: str | Path, what: str) -> Iterator[None]:
    """Holds the lock file at `path` within the block. Raises UsageError where another process holds it.

    The system gives a lock back however its process ends, so that none is left behind. what: is in use, for the error.
    """
    path = Path(path)
    make_folder(path.parent)
    name = os.path.realpath(path)
    refusal = UsageError(f"{what} is in use by another process.", "Wait for its end, or stop it.")
    if name in _locked:  # told without opening the file: to close it again would give the lock back
        raise refusal
    try:
        file = path.open("ab+")
    except OSError as error:
        raise storage_error(path, error) from error
    with file:
        try:
            _lock(file)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise storage_error(path, error) from error
            raise refusal from error
        _locked.add(name)
        try:
            yield
        finally:
            _locked.remove(name)


_locked: set[str] = set()  # the lock files that this process holds

if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, child processes do not inherit it


def _refuse_device(path: Path) -> None:
    """A rename would put a file in the place of /dev/null, for every program of this machine."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)  # Windows flushes only what it may write
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
