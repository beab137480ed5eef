/** What /readyz says: whether the service answers, and each of the things that it needs. */
import type { Loaded, Schemas } from "../../api";
import { ErrorNotice } from "../../ui/notice";
import { number, timeAndAge } from "../../ui/format";

type Ready = Schemas["Ready"];

interface Line {
  name: string;
  value: string;
  good: boolean;
}

export function Status({ loaded, bundleMade }: { loaded: Loaded<Ready>; bundleMade: number | null }) {
  const ready = loaded.data;
  const lines = ready === null ? [] : statusLines(ready);
  const troubles = lines.filter(({ good }) => !good).length;
  return (
    <section class="panel" aria-labelledby="status">
      <h2 id="status">
        Status{" "}
        {loaded.problem ? (
          <span class="badge bad">not ready</span>
        ) : (
          ready && (
            <>
              <span class="badge good">{ready.status}</span>{" "}
              {troubles > 0 && <span class="badge warn">degraded: {number(troubles)}</span>}
            </>
          )
        )}
      </h2>
      {loaded.problem && <ErrorNotice problem={loaded.problem} retry={loaded.reload} />}
      {ready && (
        <>
          <p class="muted">
            Bundle <code>{ready.bundle}</code> of model {ready.model}
            {bundleMade !== null && `, made ${timeAndAge(bundleMade)}`}. Index {String(ready.index.factory)} on{" "}
            {String(ready.index.device)}; fold-in {ready.fold_in}.
          </p>
          <ul class="status-lines">
            {lines.map(({ name, value, good }) => (
              <li key={name}>
                <span class={good ? "good" : "bad"} aria-hidden="true">
                  {good ? "✓" : "✗"}
                </span>
                <span>
                  <strong>{name}</strong> {!good && <span class="hidden-text">degraded: </span>}
                  <span class={good ? "muted" : "bad"}>{value}</span>
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

/** Redis by the state of the circuit breaker before it, whose words alone read the wrong way round. */
const REDIS: Record<string, string> = {
  off: "off: none is configured",
  closed: "connected (circuit closed)",
  open: "not reachable (circuit open)",
  half_open: "tried again after a failure (circuit half open)",
};

function statusLines(ready: Ready): Line[] {
  const line = (name: string, value: string, ...fine: string[]): Line => ({ name, value, good: fine.includes(value) });
  const arms = Object.entries(ready.arms_not_serving ?? {}).map(([arm, why]) => `${arm}: ${why}`);
  return [
    { name: "Redis", value: REDIS[ready.redis] ?? ready.redis, good: ["off", "closed"].includes(ready.redis) },
    line("Events", ready.events, "accepted"),
    line("Items", ready.items, "accepted"),
    line("Bundle files", ready.files, "verified", "not verified"),
    line("Control file", ready.control_file, "usable"),
    line("Hidden items", ready.hidden_items, "current"),
    line("Forgotten people", ready.forgotten_people, "current"),
    line("Experiments", ready.experiments, "current"),
    line("Arms", arms.join("; ") || "all serve", "all serve"),
    line("Background tasks", ready.degraded.join("; ") || "all run", "all run"),
  ];
}
