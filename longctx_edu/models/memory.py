"""How much memory there is for a model, a container's limit included."""

import os
from pathlib import Path


def free_memory_bytes(device=None) -> int:
    """Return the bytes still free on ``device`` (a ``torch.device``; the CPU by default)."""
    import psutil

    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    free, limit = psutil.virtual_memory().available, memory_limit()
    return free if limit is None else min(free, limit - psutil.Process().memory_info().rss)


def memory_limit() -> int | None:
    """Return the container's memory limit in bytes (cgroup or ``MEM_LIMIT``), or None."""
    limits = _cgroup_limits()
    hub = positive(os.environ.get("MEM_LIMIT"))
    if hub is not None:
        limits.append(int(hub))
    return min(limits, default=None)


def _cgroup_limits() -> list[int]:
    """Return the memory limits, in bytes, of all control groups that this process is in."""
    groups = Path("/proc/self/cgroup")
    found = []
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, file = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, file = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        # Inside a container the path may name a folder that only the host
        # sees; the container's own limit is then at the root.
        inner = root / path.lstrip("/")
        for folder in [inner, *inner.parents]:
            limit = _number_in(folder / file)
            if folder.is_relative_to(root) and limit is not None and limit < 2**60:
                found.append(limit)  # above: version 1's way to write "no limit"
    return found


def positive(text: str | None) -> float | None:
    """Return the number that ``text`` spells, if it is a finite one above 0, else None."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or the word "max"
        return None
