"""Code that a coordinator ships to a site, as the SuperNode's user: it tries to get at what the guard holds.

Started by root as `python -m tests.federation.hostile_app USER`, with what it may know on standard input as JSON. It
gives up root's rights and then prints, as JSON, what became of each attempt: "got" or "done" with what it got, or the
error's name.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from federation.messenger import ask_at

PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
PIDFD_OPEN, PIDFD_GETFD, PROCESS_VM_READV = 434, 438, 310  # x86-64
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = LIBC.ptrace.restype = ctypes.c_long


class Span(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def become(user: int) -> None:
    """Give up root's rights for good: this user, its group, and no other group."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def attempt(work: Callable[[], Any]) -> str:
    try:
        return f"got {work()!r:.60}"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except ValueError:
        return "ValueError"


def beginning(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(64)


def files(folder: Path, others: list[str]) -> dict[str, Callable[[], Any]]:
    """Reading, writing, moving, linking and listing."""
    tries: dict[str, Callable[[], Any]] = {"list the folder": lambda: list(folder.iterdir())}
    for path in (*(folder / name for name in NAMES), *map(Path, others)):
        tries[f"read {path.name}"] = lambda path=path: path.read_bytes()[:8]
        tries[f"write {path.name}"] = lambda path=path: path.open("ab").close()
        tries[f"remove {path.name}"] = lambda path=path: path.unlink()
        tries[f"open up {path.name}"] = lambda path=path: path.chmod(0o777)
        tries[f"link {path.name}"] = lambda path=path: os.link(path, f"/tmp/{os.getpid()}.link")
    tries["put a policy there"] = lambda: (folder / "policy.toml.new").write_text("use_cases = []")
    tries["move the folder"] = lambda: folder.rename(folder.with_name("moved"))
    return tries


NAMES = (
    "site.toml",
    "policy.toml",
    "key.pem",
    "marks.key",
    "ledger.sqlite",
    "ledger.sqlite-wal",
    "ledger.sqlite-shm",
    "approvals.sqlite",
    "sums.sqlite",
    "sums.sqlite-wal",
    "sums.sqlite-shm",
    "keys.json",
    "roots.json",
    "witnessed",
)


def process(pid: int) -> dict[str, Callable[[], Any]]:
    """The guard's memory, environment, descriptors, and life."""
    tries: dict[str, Callable[[], Any]] = {
        f"read /proc/{name}": lambda name=name: beginning(f"/proc/{pid}/{name}")
        for name in ("mem", "environ", "maps", "auxv", "pagemap", "stack", f"task/{pid}/mem")
    }
    tries |= {
        f"follow {name}": lambda name=name: Path(f"/proc/{pid}/{name}").readlink() for name in ("cwd", "root", "exe")
    }
    tries["list descriptors"] = lambda: list(Path(f"/proc/{pid}/fd").iterdir())
    tries["write /proc/mem"] = lambda: Path(f"/proc/{pid}/mem").open("r+b").close()
    tries["write /proc/oom_score_adj"] = lambda: Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
    tries["ptrace attach"] = lambda: call(LIBC.ptrace, PTRACE_ATTACH, pid, 0, 0)
    tries["ptrace seize"] = lambda: call(LIBC.ptrace, PTRACE_SEIZE, pid, 0, 0)
    here = (ctypes.c_char * 8)()
    spans = Span(ctypes.addressof(here), 8), Span(0x400000, 8)
    vm = (LIBC.syscall, PROCESS_VM_READV, pid, ctypes.byref(spans[0]), 1, ctypes.byref(spans[1]), 1, 0)
    tries["process_vm_readv"] = lambda: call(*vm)
    tries["take a descriptor"] = lambda: call(LIBC.syscall, PIDFD_GETFD, call(LIBC.syscall, PIDFD_OPEN, pid, 0), 3, 0)
    for number in (0, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR1, signal.SIGHUP):
        tries[f"signal {int(number)}"] = lambda number=number: os.kill(pid, number)
    tries["limit it"] = lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, 1))
    tries["move it to one core"] = lambda: os.sched_setaffinity(pid, {0})
    tries["make it slow"] = lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)
    return tries


def call(function: Any, *arguments: Any) -> int:
    result = function(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return int(result)


def replacing(path: Path) -> dict[str, Callable[[], Any]]:
    """Taking the guard's place on its socket."""

    def bind(at: Path) -> None:
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(str(at))

    return {
        "remove the socket": path.unlink,
        "rename the socket": lambda: path.rename(path.with_name("old.sock")),
        "rename its folder": lambda: path.parent.rename(path.parent.with_name("elsewhere")),
        "bind over it": lambda: bind(path),
        "bind beside it": lambda: bind(path.with_name("other.sock")),
        "own the socket": lambda: os.chown(path, os.getuid(), -1),
        "open the socket to all": lambda: path.chmod(0o777),
        "list its folder": lambda: list(path.parent.iterdir()),
    }


def root() -> dict[str, Callable[[], Any]]:
    """Getting rights back."""
    return {
        "become root": lambda: os.setuid(0),
        "become the guard": lambda: os.setuid(KNOWN["guard"]),
        "join its group": lambda: os.setgroups([KNOWN["guard"]]),
    }


KNOWN: dict[str, Any] = {}


def main(user: int) -> None:
    KNOWN.update(json.load(sys.stdin))
    become(user)
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    tries = files(Path(KNOWN["folder"]), KNOWN["files"])
    if not KNOWN["files_only"]:
        tries |= process(KNOWN["pid"]) | replacing(Path(KNOWN["socket"])) | root()
    found = {name: attempt(work) for name, work in tries.items()}
    ask = ask_at(f"unix:{KNOWN['socket']}")
    replies = [base64.b64encode(ask(base64.b64decode(one))).decode() for one in KNOWN["requests"]]
    print(json.dumps({"uid": os.getuid(), "capabilities": status["CapEff"], "tries": found, "replies": replies}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
