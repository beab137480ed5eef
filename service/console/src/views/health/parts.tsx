/** Caches, Redis, the event log and the process, in figures. */
import { type History, type Window, within } from "../../history.ts";
import { seriesOf, startOf, sumOf, valueOf } from "../../prometheus.ts";
import { Figure, Figures } from "../../ui/figure";
import { bytes, counted, number, percent, seconds } from "../../ui/format";
import { type Share, byLabel, cores, eventWrite, profileCache, redisCache, responseCache, totals } from "./figures.ts";

const CIRCUIT: Record<string, string> = { closed: "connected", open: "not reachable", half_open: "tried again" };

function HitRate({ name, share }: { name: string; share: Share }) {
  return (
    <Figure name={name} note={share.all > 0 ? `${number(share.hits)} of ${number(share.all)}` : "not asked"}>
      {percent(share.hits / share.all)}
    </Figure>
  );
}

export function Summary({ history, window }: { history: History; window: Window }) {
  const { latest } = history;
  const all = totals(window);
  const inFlight = valueOf(latest, "reco_requests_in_flight") ?? 0;
  const limit = valueOf(latest, "reco_limit", { of: "requests_in_flight" }) ?? 0;
  return (
    <Figures>
      <Figure name="Requests per second" note={`${counted(all.requests, "request")} in ${seconds(window.seconds)}, probes left out`}>
        {number(all.perS)}
      </Figure>
      <Figure name="Failed" note="5xx, of all but 4xx">
        {all.ok + all.failed > 0 ? percent(all.failed / (all.ok + all.failed)) : "none"}
      </Figure>
      <Figure name="p50">{seconds(all.p50)}</Figure>
      <Figure name="p99">{seconds(all.p99)}</Figure>
      <Figure name="In flight" note={`of at most ${number(limit)}`}>
        {number(inFlight)}
      </Figure>
      <HitRate name="Response cache" share={responseCache(window)} />
    </Figures>
  );
}

export function Stores({ history, window }: { history: History; window: Window }) {
  const { latest } = history;
  const circuit = seriesOf(latest, "reco_redis_circuit").find(({ value }) => value === 1)?.labels.state;
  const waiting = valueOf(latest, "reco_events_waiting") ?? 0;
  const most = valueOf(latest, "reco_limit", { of: "events_waiting" }) ?? 0;
  const hears = valueOf(latest, "reco_live_hears") === 1;
  return (
    <Figures>
      <HitRate name="User profiles in memory" share={profileCache(window)} />
      <HitRate name="User vectors in Redis" share={redisCache(window)} />
      <Figure name="Redis circuit" note={CIRCUIT[circuit ?? "off"] ?? ""}>
        <span class={circuit === undefined || circuit === "closed" ? "" : "bad"}>{circuit ?? "off"}</span>
      </Figure>
      <Figure name="Events appended" note={`${number(sumOf(within(window, "reco_events_known_total")))} duplicates`}>
        {number(sumOf(within(window, "reco_events_total")))}
      </Figure>
      <Figure name="Events waiting" note={`of at most ${number(most)}`}>
        {number(waiting)}
      </Figure>
      <Figure name="Event write p99" note={`p50 ${seconds(eventWrite(window, 0.5))}`}>
        {seconds(eventWrite(window, 0.99))}
      </Figure>
      <Figure name="New events reach lists" note={hears ? "promptly" : "the log cannot be read"}>
        <span class={hears ? "" : "bad"}>{hears ? "yes" : "no"}</span>
      </Figure>
    </Figures>
  );
}

export function Process({ history, window }: { history: History; window: Window }) {
  const { latest } = history;
  const [used, limit] = ["reco_memory_anonymous_bytes", "reco_memory_limit_bytes"].map((name) => valueOf(latest, name));
  const free = valueOf(latest, "reco_disk_free_ratio");
  return (
    <Figures>
      <Figure name="Up for">{seconds(latest.timeS - startOf(latest))}</Figure>
      <Figure name="Memory" note={limit ? `of ${bytes(limit)}` : ""}>
        {bytes(used)}
      </Figure>
      <Figure name="CPU" note="cores in use">
        {number(cores(window))}
      </Figure>
      {free !== null && <Figure name="Disk free">{percent(free)}</Figure>}
      <Figure name="Connections">{number(valueOf(latest, "reco_connections") ?? 0)}</Figure>
      <Figure name="Items stored" note={`${number(valueOf(latest, "reco_items_waiting") ?? 0)} waiting to be written`}>
        {number(valueOf(latest, "reco_items_stored") ?? 0)}
      </Figure>
    </Figures>
  );
}

/** A counter by a label, as a small table. */
export function Counts(props: { window: Window; metric: string; label: string; title: string; head: string; none: string }) {
  const { window, metric, label, title, head, none } = props;
  const rows = byLabel(window, metric, label);
  const total = rows.reduce((sum, [, count]) => sum + count, 0);
  return (
    <section class="panel">
      <h2>{title}</h2>
      {rows.length === 0 ? (
        <p class="muted">{none}</p>
      ) : (
        <table>
          <thead>
            <tr>
              <th scope="col">{head}</th>
              <th scope="col" class="number">
                Responses
              </th>
              <th scope="col" class="number">
                Share
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, count]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{number(count)}</td>
                <td class="number">{percent(count / total)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
