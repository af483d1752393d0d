"""`python -m benchmarks.memory MODULE NAME`: what one piece of work holds, and what it adds at its peak.

`MODULE.prepared(NAME, size)` makes the work; a small one runs first, so that what libraries load on first use is not
counted. The peak is the kernel's high-water mark, set back just before the work (Linux, proc(5)). `ru_maxrss` would not
do: a child process starts with its parent's, and it is never set back.
"""

from __future__ import annotations

import gc
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Final

STATUS: Final = Path("/proc/self/status")
CLEAR: Final = Path("/proc/self/clear_refs")
SMALL: Final = 64


def measured(module: str, name: str) -> dict[str, float] | None:
    """MiB held and added; None where the kernel does not tell."""
    prepared = importlib.import_module(f"benchmarks.{module}").prepared
    prepared(name, SMALL)()
    gc.collect()
    try:
        before = _mebibytes("VmRSS")
        work = prepared(name, None)
        gc.collect()
        CLEAR.write_text("5")
        held = _mebibytes("VmRSS")
        work()
        return {"holds": held - before, "adds": _mebibytes("VmHWM") - held}
    except OSError:
        return None


def _mebibytes(field: str) -> float:
    found = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) / 1024 if found else float("nan")


if __name__ == "__main__":
    print(json.dumps(measured(*sys.argv[1:])))
