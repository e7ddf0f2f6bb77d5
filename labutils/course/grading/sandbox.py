"""Limits around a child process that runs a student's code: as many as this system can set without root or a package.

`shut` is called in the child, and names what is in force: time and memory always, on Linux also no other process, no
network, nothing written, and nothing read but Python and the lab.
"""

import contextlib
import ctypes
import os
import platform
import struct
import sys
import sysconfig
from pathlib import Path

import labutils

SECONDS, MEMORY = 10, 3 * 2**29  # of one exercise; bytes on top of what the process has
NO_NEW_PRIVILEGES, PARENT_DEATH, SECCOMP = 38, 1, 22  # of prctl
NEW_USER, NEW_NET, NEW_IPC = 0x10000000, 0x40000000, 0x08000000  # of unshare
READ, READ_FOLDER, EXECUTE = 4, 8, 1  # Landlock's rights
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many rights over files a version of Landlock knows; later ones 16
FORBIDDEN = {  # machine; prlimit; calls: for processes, programs, sockets, rings that do all that unseen; for memory,
    # signals, priorities and processors of other processes; for keys, counters, programs in the kernel; and for what
    # Landlock leaves open, modes, owners, times and attributes of files, other roots, mounts and namespaces
    "x86_64": (0xC000003E, 302, (
        *range(56, 60), 322, 435, 41, 53, 425, 101, 310, 311, 438, 440, 62, 200, 234, 129, 297, 424, 141, 142, 144, 203,
        251, 314, 256, 279, *range(248, 251), 298, 321, 323, *range(90, 95), 260, 268, 452, 132, 235, 261, 280,
        *range(188, 191), *range(197, 200), 463, 466, 161, 155, 165, 166, 272, 308)),
    "aarch64": (0xC00000B7, 261, (
        220, 221, 281, 435, 198, 199, 425, 117, 270, 271, 438, 440, *range(129, 132), 138, 240, 424, 140, 118, 119, 122,
        30, 274, 238, 239, *range(217, 220), 241, 280, 282, *range(52, 56), 452, 88, 5, 6, 7, 14, 15, 16, 463, 466, 51,
        41, 40, 39, 97, 268)),
}  # fmt: skip


def shut(keep: int) -> list[str]:
    """Put this process under all limits that can be had, with `keep` as its only open file; returns their names."""
    active = []
    _leave_open_only(keep)
    for name, limit in LIMITS.items():
        with contextlib.suppress(Exception):  # what a system lacks is said by its absence
            if limit():
                active.append(name)
    return active


def _leave_open_only(keep: int) -> None:
    """What the parent had open (its results, its own pipes) is closed in here; standard streams follow in `_quiet`."""
    with contextlib.suppress(OSError):  # not Linux, where a child starts with nothing open
        for each in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):  # that of the listing itself
                if each > 2 and each != keep:
                    os.close(each)


def _limits() -> bool:
    import resource

    soft = {"RLIMIT_CPU": SECONDS, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_NOFILE": 64, "RLIMIT_NPROC": 0}
    for name, most in soft.items():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            resource.setrlimit(getattr(resource, name), (most, most))
    bound_memory(MEMORY)
    return True


def bound_memory(more: int) -> None:
    """Let this process, and those it makes, have so many bytes on top of what it has; where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # ValueError: the parent's bound is nearer
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more,) * 2)


def _libc(call: str, *arguments) -> int:
    """A call of the C library; OSError where it fails."""
    result = getattr(ctypes.CDLL(None, use_errno=True), call)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), call)
    return result


def _namespaces() -> bool:
    return _libc("unshare", NEW_USER | NEW_NET | NEW_IPC) == 0


def _landlock() -> bool:
    """No file may be written, and only Python's and the lab's be read."""
    version = _libc("syscall", 444, None, 0, 1)
    rights = (1 << RIGHTS.get(version, 16)) - 1
    rules = struct.pack("<QQ", rights, 3 if version >= 4 else 0)  # files, and TCP
    ruleset = _libc("syscall", 444, rules, 16 if version >= 4 else 8, 0)
    places = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(Path(labutils.__file__).parent)}
    for place in places | {"/usr", "/lib", "/lib64", "/dev/urandom", "/dev/null", "/sys/devices/system/cpu"}:
        with contextlib.suppress(OSError):
            handle = os.open(place, os.O_PATH)
            allowed = (READ | READ_FOLDER | EXECUTE) if os.path.isdir(place) else READ
            _libc("syscall", 445, ruleset, 1, struct.pack("<Qi", allowed, handle), 0)
            os.close(handle)
    _libc("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return _libc("syscall", 446, ruleset, 0) == 0


def _seccomp() -> bool:
    """The kernel refuses the calls that reach other processes: a filter of 9 + n instructions."""
    machine, limits, calls = FORBIDDEN[platform.machine()]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    refuse = len(calls) + 3
    code = [(load, 0, 0, 4), (equal, 0, refuse + 3, machine), (load, 0, 0, 0), (at_least, refuse + 1, 0, 0x40000000)]
    code += [(equal, refuse - i, 0, call) for i, call in enumerate(calls)]
    code += [(equal, 0, 2, limits), (load, 0, 0, 16), (equal, 0, 1, 0)]  # limits are this process's own: pid 0
    code += [(give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x00050001)]  # allow; EPERM
    filters = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *one) for one in code))
    program = struct.pack("<H6xQ", len(code), ctypes.addressof(filters))
    _libc("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return _libc("prctl", SECCOMP, 2, program, 0, 0) == 0


def _quiet() -> bool:
    """What the code prints goes nowhere, and the process ends with its parent."""
    if sys.platform == "linux":
        _libc("prctl", PARENT_DEATH, 9, 0, 0, 0)
    if hasattr(os, "setsid"):
        os.setsid()
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    return False  # this is no limit


LIMITS = {"quiet": _quiet, "time and memory": _limits, "no network (namespace)": _namespaces}
LIMITS |= {"no writing (Landlock)": _landlock, "no processes (seccomp)": _seccomp}
