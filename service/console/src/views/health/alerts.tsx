/** The alerts that hold, those that do not, and those that need Prometheus. */
import { ALERTS, type Holding, NEEDS_PROMETHEUS } from "../../alerts.ts";
import { counted, seconds } from "../../ui/format";

export function Alerts({ holding, nowS }: { holding: readonly Holding[]; nowS: number }) {
  const quiet = ALERTS.filter((alert) => holding.every((one) => one.alert !== alert));
  const others = Object.entries(NEEDS_PROMETHEUS);
  return (
    <section class="panel" aria-labelledby="alerts">
      <h2 id="alerts">Alerts that would fire</h2>
      {holding.length === 0 && <p class="good">None of {ALERTS.length} holds.</p>}
      <ul class="alerts">
        {holding.map((one) => (
          <li key={one.alert.name}>
            <p>
              <strong>{one.alert.name}</strong>{" "}
              <span class={`badge ${one.fires ? "bad" : "warn"}`}>{one.fires ? "fires" : "pending"}</span>{" "}
              <span class="badge">{one.alert.severity}</span>
            </p>
            {one.found.map((sentence) => (
              <p>{sentence}</p>
            ))}
            <p class="muted">{waiting(one, nowS)}</p>
          </li>
        ))}
      </ul>
      <details>
        <summary>{counted(quiet.length, "alert")} that do not hold</summary>
        <ul class="names">
          {quiet.map(({ name, expr }) => (
            <li key={name}>
              {name} <code>{expr.replace(/\s+/g, " ")}</code>
            </li>
          ))}
        </ul>
      </details>
      <details>
        <summary>{counted(others.length, "alert")} that need Prometheus</summary>
        <ul class="names">
          {others.map(([name, why]) => (
            <li key={name}>
              {name} <span class="muted">{why}</span>
            </li>
          ))}
        </ul>
        <p class="muted">They look at hours and days, or at several replicas: deploy/prometheus has the rules.</p>
      </details>
      <p class="muted">
        The rules of deploy/prometheus, applied to what this page has seen. Increases before it was opened count only
        where they are since the start of the process.
      </p>
    </section>
  );
}

function waiting({ alert, sinceS, fires }: Holding, nowS: number): string {
  if (alert.forS === 0) return "Prometheus fires it at once.";
  const seen = `It has held for at least ${seconds(nowS - sinceS)}`;
  return fires ? `${seen}.` : `${seen}; Prometheus fires it after ${seconds(alert.forS)}.`;
}
