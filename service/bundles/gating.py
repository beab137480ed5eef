"""The gate in a process of its own: it reads a whole bundle, and what it finds there may end it (a file cut short)."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from index.verdict import GateReport, as_words
from service.errors import ServiceError
from service.settings import Settings

NICENESS = 10
LAST_WORDS = 500  # of what a gate that failed said


class GateFailed(ServiceError):  # noqa: N818
    """The gate came to no verdict; nothing was published."""

    status = 500
    code = "gate_failed"


async def ask_gate(path: Path, users: Sequence[str], settings: Settings) -> GateReport:
    """The gate's report on the bundle at `path` against the one that serves; `users` were asked for of late.

    It runs at a low priority, so that requests do not wait for it. GateFailed where it ends without a report.
    """
    limits = [word for limit in as_words(settings.gate) for word in ("--limit", limit)]
    command = (sys.executable, "-m", "index", "gate", str(path), "--json", "--replay", "-", *limits)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    told = "\n".join(user for user in users if "\n" not in user).encode()
    try:
        out, err = await asyncio.wait_for(process.communicate(told), settings.gate_timeout_s)
    except TimeoutError:
        raise GateFailed(f"the gate took longer than {settings.gate_timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return GateReport.model_validate_json(out)
    except ValidationError:
        said = err.decode(errors="replace").strip()[-LAST_WORDS:]
        raise GateFailed(f"the gate ended with status {process.returncode}: {said or 'it said nothing'}") from None


def as_json(report: GateReport) -> dict[str, object]:
    """The report for an answer."""
    return {"passed": report.passed, **json.loads(report.model_dump_json())}
