"""What this machine is: what stands beside every measured number, and what `verydeep doctor` shows."""

import contextlib
import ctypes
import math
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

# Instruction sets that decide how fast a convolution runs, by the names that Linux gives them: x86's, then ARM's.
_INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
)

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's numbers for what it can be told


def processor() -> str:
    """The processor's name as its maker writes it, "AMD EPYC 9654", or its architecture where it is not told."""
    return _cpuinfo("model name") or _sysctl("machdep.cpu.brand_string") or platform.processor() or platform.machine()


def cores() -> int:
    """How many this process may use: fewer than the machine's where it is confined to some, or a container has a quota.

    A quota of one core and a half counts as two.
    """
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return known if quota is None else max(1, min(known, math.ceil(quota)))


def instruction_sets() -> tuple[str, ...]:
    """Those of the processor that matter here; empty where the operating system does not tell."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return tuple(name for name in _INSTRUCTION_SETS if name in flags)


def vectors() -> str:
    """The vector instructions of the processor that decide its speed here; empty where the system does not tell.

    Processors of one name may differ in them: that of a virtual machine often says no more than "AMD EPYC".
    """
    known = instruction_sets()
    names = {"avx512_vnni": "AVX-512 VNNI", "avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}
    return next((name for flag, name in names.items() if flag in known), "")


def may_have_gpu() -> bool:
    """Whether there are signs of a GPU that torch can use, of NVIDIA, AMD or Apple: told without loading torch."""
    is_apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return is_apple or os.path.exists("/proc/driver/nvidia/version") or os.path.exists("/dev/kfd")  # noqa: PTH110


def memory_bytes() -> int | None:
    """How much this process may use, a container's limit included; None where the operating system does not tell."""
    known: list[int] = []
    with contextlib.suppress(OSError, ValueError, AttributeError):  # Windows has no sysconf
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        known.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(known, default=None)


def available_memory_bytes(root: Path = Path("/")) -> int | None:
    """How much memory this process may come to hold: what it holds and what is free; None where nothing tells.

    The least of what the machine, each control group around the process (a container, a job of a cluster) and its own
    limit on addresses (`ulimit -v`) leave. root: of the file system, for tests.
    """
    status = _fields(root / "proc/self/status")
    held, addresses = status.get("RssAnon"), status.get("VmSize")
    free = _fields(root / "proc/meminfo").get("MemAvailable")
    if held is None or addresses is None or free is None:  # not Linux
        return None
    return held + min([free, *_free_in_groups(root), *_free_addresses(addresses)])


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, for the next step of a training; where another library serves memory, no change.

    Otherwise it returns each large buffer to the system and asks for it again, whose pages have to be cleared: a
    quarter of the time of a training step (docs/log.md). The process holds up to a third more memory in return, and
    keeps it to its end.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of these packages, none of them imported; those not installed are left out."""
    found: dict[str, str] = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def commit() -> str:
    """The commit of the program's own checkout, with a "+" where files differ from it; its version if installed."""
    here = Path(__file__).parent
    try:
        # a site-packages folder may lie within somebody else's repository: the file must belong to this one
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        return _git(here, "rev-parse", "--short=10", "HEAD") + (
            "+" if _git(here, "status", "--porcelain", "--", ":/", ":!/benchmarks/results") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return "v" + versions("verydeep").get("verydeep", "?")


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Linux's limit on the processor time of this container, in cores; None where there is none.

    It is read where a container sees its own: at the root, in cgroup v2's file and in v1's two.
    """
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota, period = (
            (root / "cpu" / name).read_text(encoding="ascii") for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
        return int(quota) / int(period) if int(quota) > 0 else None  # -1 where there is no limit
    return None


def _fields(path: Path) -> dict[str, int]:
    """Sizes that Linux tells as "MemAvailable:  123 kB", in bytes."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        rows = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
        return {name: int(text.split()[0]) * 1024 for name, _, text in rows if text.endswith(" kB")}
    return {}


def _free_in_groups(root: Path) -> Iterator[int]:
    """What each control group around this process leaves, of version 1 or 2; files that it would drop count as free."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        limit, used, files = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if controllers
            else ("memory.max", "memory.current", "inactive_file")
        )
        for group in (top / path.lstrip("/"), *(top / path.lstrip("/")).parents):
            if not group.is_relative_to(top):
                break
            with contextlib.suppress(OSError, ValueError, KeyError):  # "max" where there is no limit
                limit_bytes, used_bytes = (int((group / name).read_text(encoding="ascii")) for name in (limit, used))
                statistics = dict(row.split() for row in _lines(group / "memory.stat"))
                yield max(0, limit_bytes - used_bytes + int(statistics[files]))


def _free_addresses(used: int) -> Iterator[int]:
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            yield max(0, limit - used)


def _lines(path: Path) -> list[str]:
    """Empty where the file cannot be read."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603, fixed arguments
        ["git", *arguments],  # noqa: S607, whichever git the user has
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()


def _cpuinfo(key: str) -> str:
    """Linux's description of the first core."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""


def _sysctl(key: str) -> str:
    """macOS's."""
    if platform.system() != "Darwin":
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=True, timeout=10)  # noqa: S603, S607
        return done.stdout.strip()
    return ""
