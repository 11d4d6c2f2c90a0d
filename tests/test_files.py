"""A reader finds the old content or the new, whatever fails on the way."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from verydeep import files
from verydeep.errors import StorageError, UsageError
from verydeep.files import atomic_write, make_folder, sole_use

# What a write consists of, by the function that can fail.
STEPS = ("pathlib.Path.mkdir", "pathlib.Path.open", "os.fsync", "pathlib.Path.replace")
REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EIO: os.strerror(errno.EIO),
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", [b"\x00\xff", "text: \u732b", b""])
def test_a_file_gets_the_content_and_nothing_else_is_left(data: bytes | str, tmp_path: Path) -> None:
    atomic_write(tmp_path / "new" / "folder" / "file", data)
    atomic_write(tmp_path / "new" / "folder" / "file", data)
    assert (tmp_path / "new" / "folder" / "file").read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert names(tmp_path / "new" / "folder") == ["file"]


def test_what_can_be_made_again_is_replaced_as_a_whole_but_not_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr("os.fsync", flushed.append)
    atomic_write(tmp_path / "picture", "old", is_durable=False)
    atomic_write(tmp_path / "picture", "new", is_durable=False)
    assert (names(tmp_path), (tmp_path / "picture").read_text(), flushed) == (["picture"], "new", [])
    atomic_write(tmp_path / "model", "new")
    assert flushed


@pytest.mark.parametrize("code", REASONS, ids=errno.errorcode.get)
@pytest.mark.parametrize("step", STEPS)
def test_the_old_content_survives_a_failure_at_every_step(
    step: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(StorageError, match=f"cannot write .*{REASONS[code]}") as caught:
            atomic_write(path, "new")
    assert (caught.value.exit_code, bool(caught.value.hint)) == (1, True)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_the_old_content_survives_a_disk_that_is_full_half_way(tmp_path: Path) -> None:
    """A limit on the size of a file stops the write after 4096 bytes, as a full disk does."""
    pytest.importorskip("resource")
    path = tmp_path / "file"
    path.write_text("old")
    program = (
        "import sys, resource, signal\n"
        "from verydeep.files import atomic_write; from verydeep.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: atomic_write(sys.argv[1], bytes(100_000))\n"
        "except StorageError: sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == 7
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_ctrl_c_leaves_the_old_content_and_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_the_file_is_flushed_before_it_takes_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def recorded_replace(path: Path, target: Path) -> Path:
        done.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    atomic_write(tmp_path / "file", "new")
    assert done == (["file", "name"] if os.name == "nt" else ["file", "name", "folder"])


def test_a_file_system_that_flushes_no_folders_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def fsync_of_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fsync_of_files)
    atomic_write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_that_the_user_chose_for_new_files(mask: int, mode: int, tmp_path: Path) -> None:
    previous = os.umask(mask)
    try:
        atomic_write(tmp_path / "file", "new")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_link_stays_one_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    atomic_write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_a_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="a device or a pipe"):
        atomic_write(tmp_path / "pipe", "new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("folder", "there is a folder of that name"),
        ("file/x", "a file of that name is in the way"),
        ("file/x/y", "a part of the path is a file"),
        ("n" * 300, "the name is too long"),
        ("n" * 255, None),  # as long as a name may be
    ],
)
def test_the_reason_of_a_failure_is_told(path: str, reason: str | None, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    if reason is None:
        atomic_write(tmp_path / path, "new")
        assert (tmp_path / path).read_text() == "new"
        return
    with pytest.raises(StorageError, match=reason):
        atomic_write(tmp_path / path, "new")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_text_that_is_none_is_written_all_the_same(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", "photo " + os.fsdecode(b"\xff"))
    assert (tmp_path / "file").read_text() == r"photo \udcff"


def test_a_reader_beside_two_writers_never_sees_half_a_file(tmp_path: Path) -> None:
    """Two processes write a hundred kilobytes of one letter each, again and again; every read is of one letter."""
    path = tmp_path / "file"
    atomic_write(path, b"a" * 100_000)
    program = (
        "import sys; from verydeep.files import atomic_write\n"
        "for _ in range(40): atomic_write(sys.argv[1], sys.argv[2].encode() * 100_000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, path, letter]) for letter in "ab"]
    reads = set()
    while any(writer.poll() is None for writer in writers):
        content = path.read_bytes()
        assert len(content) == 100_000
        reads.add(bytes(set(content)))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert reads <= {b"a", b"b"}
    assert names(tmp_path) == ["file"]


def test_a_folder_is_made_with_its_parents_and_may_be_there(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b") == make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file: a file of that name is in the way"):
        make_folder(tmp_path / "file")


def test_a_power_cut_forgets_no_folder_that_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(files, "_flush_folder", flushed.append)
    make_folder(tmp_path / "a" / "b" / "c")
    assert sorted(flushed) == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    make_folder(tmp_path / "a" / "b" / "c")
    assert len(flushed) == 3


HOLD = """
import sys, time
from verydeep.files import sole_use, sole_use
with sole_use(sys.argv[1], "the folder"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_one_process_has_sole_use_until_its_end_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="the folder is in use by another process"), sole_use(path, "the folder"):
            pass
        holder.kill()
    with sole_use(path, "the folder"):
        pass


def test_sole_use_is_not_given_twice_to_one_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with sole_use(path, "the folder"):
        with pytest.raises(UsageError, match="in use"), sole_use(path, "the folder"):
            pass
        other = [sys.executable, "-c", HOLD, path]  # still refused: the second try has not given up the lock
        refused = subprocess.run(other, capture_output=True, text=True, check=False)
        assert "UsageError: the folder is in use" in refused.stderr
    with sole_use(path, "the folder"):
        pass
