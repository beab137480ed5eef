/** Whether the service is well, by its own /readyz and /metrics. */
import { answer, api, useLoaded } from "../api";
import { Alerts } from "./health/alerts";
import { Counts, Process, Stores, Summary } from "./health/parts";
import { Charts, Routes } from "./health/requests";
import { Status } from "./health/status";
import { EVERY_MS, type Health, useHealth } from "./health/use-health";
import type { History, Window } from "../history.ts";
import { valueOf } from "../prometheus.ts";
import { type Route, goTo } from "../route";
import { ErrorNotice } from "../ui/notice";
import { seconds, timeAndAge } from "../ui/format";
import "./health.css";

const WINDOWS: Record<string, [string, (history: History) => Window]> = {
  "1m": ["the last minute", (history) => history.last(60)],
  "5m": ["the last 5 minutes", (history) => history.last(300)],
  start: ["since the start", (history) => history.sinceStart()],
};

export function HealthView({ route }: { route: Route }) {
  const ready = useLoaded(() => answer(api.GET("/readyz")), [], EVERY_MS);
  const [health, loaded] = useHealth();
  const made = health && valueOf(health.history.latest, "reco_bundle_created_timestamp_seconds");
  return (
    <>
      <p class="muted">Whether this process of the service is well, and what it does now: requests, latency, caches and alerts.</p>
      <Status loaded={ready} bundleMade={made} />
      {loaded.problem && <ErrorNotice problem={loaded.problem} retry={loaded.reload} />}
      {loaded.problem?.status === 404 && (
        <p class="notice">
          With RECO_METRICS_ON_ADMIN the service serves /metrics on its admin port alone: open the console there.
        </p>
      )}
      {health === null && !loaded.problem && <p role="status">Loading …</p>}
      {health && <Measured health={health} stale={loaded.problem !== null} window={route.params.get("window") ?? "1m"} />}
    </>
  );
}

function Measured({ health, stale, window: chosen }: { health: Health; stale: boolean; window: string }) {
  const { history, points, holding, restartedS } = health;
  const [, of] = WINDOWS[chosen] ?? WINDOWS["1m"]!;
  const window = of(history);
  const { timeS } = history.latest;
  return (
    <>
      {stale && <p class="notice warn">What follows is of {timeAndAge(timeS)}.</p>}
      {restartedS !== null && <p class="notice">The service started again at {timeAndAge(restartedS)}.</p>}
      <Alerts holding={holding} nowS={timeS} />
      <section class="panel" aria-labelledby="requests">
        <h2 id="requests">Requests</h2>
        <form class="controls">
          <label>
            Figures of
            <select value={chosen} onChange={(event) => goTo("health", "", { window: event.currentTarget.value })}>
              {Object.entries(WINDOWS).map(([name, [title]]) => (
                <option key={name} value={name}>
                  {title}
                </option>
              ))}
            </select>
          </label>
          <p class="muted">
            {window.fromZero ? "Since the start" : "Seen here"}: {seconds(window.seconds)}. A sample is taken every 5 seconds.
          </p>
        </form>
        <Summary history={history} window={window} />
        <Charts points={points} />
        <Routes window={window} />
      </section>
      <div class="columns">
        <Counts
          window={window}
          metric="reco_answers_total"
          label="source"
          title="Responses by source"
          head="Made from"
          none="No list was answered in this time."
        />
        <Counts
          window={window}
          metric="reco_errors_total"
          label="code"
          title="Errors"
          head="Code"
          none="Nothing was refused or failed in this time."
        />
      </div>
      <section class="panel">
        <h2>Caches, Redis and event log</h2>
        <Stores history={history} window={window} />
      </section>
      <section class="panel">
        <h2>Process</h2>
        <Process history={history} window={window} />
      </section>
    </>
  );
}
