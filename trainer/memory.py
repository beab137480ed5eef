"""Peak memory of this process, or of the GPU where it uses one."""

import resource
from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"  # what Linux takes there to set the high-water mark to what is resident now (proc_pid_clear_refs(5))


def peak_gb() -> float:
    """In GB, since this process began or the last reset; pages of memory-mapped files count while they are held."""
    if _on_gpu():
        return torch.cuda.max_memory_allocated() / 1e9
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def reset_peak() -> None:
    """Measure from now on, where the system supports it; else the peak is that of the whole process."""
    if _on_gpu():
        torch.cuda.reset_peak_memory_stats()
    elif _CLEAR.exists():
        _CLEAR.write_text(_RESET_PEAK)


def _on_gpu() -> bool:
    """Whether this process has used a GPU; querying memory sizes would initialise one."""
    initialised: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return initialised
