/** Requests by route and status, with their latency. */
import type { Window } from "../../history.ts";
import { LineChart } from "../../ui/line-chart";
import { number, seconds } from "../../ui/format";
import { type Point, routeRows } from "./figures.ts";

export function Charts({ points }: { points: readonly Point[] }) {
  const times = points.map(({ timeS }) => timeS);
  const last = points.at(-1);
  const most = Math.max(0, ...points.map(({ perS }) => perS));
  const slowest = Math.max(0, ...points.map(({ p99 }) => (Number.isNaN(p99) ? 0 : p99)));
  if (last === undefined) return <p class="muted">The charts begin with the second sample, in 5 seconds.</p>;
  const line = (label: string, colour: string, value: (one: Point) => number) => ({
    label,
    colour,
    values: points.map((one) => (Number.isNaN(value(one)) ? null : value(one))),
  });
  return (
    <div class="columns">
      <LineChart
        title="Requests per second"
        sentence={`${number(last.perS)} now, at most ${number(most)}; ${number(last.failed)} failed now.`}
        times={times}
        asText={number}
        lines={[
          line("answered", "--part-id", ({ ok }) => ok),
          line("refused (4xx)", "--warn", ({ refused }) => refused),
          line("failed (5xx)", "--bad", ({ failed }) => failed),
        ]}
      />
      <LineChart
        title="Latency"
        sentence={`Half within ${seconds(last.p50)} and 99% within ${seconds(last.p99)} now; p99 at most ${seconds(slowest)}.`}
        times={times}
        asText={seconds}
        lines={[
          line("p50", "--part-id", ({ p50 }) => p50),
          line("p99", "--part-anchor", ({ p99 }) => p99),
        ]}
      />
    </div>
  );
}

export function Routes({ window }: { window: Window }) {
  const rows = routeRows(window);
  if (rows.length === 0) return <p class="muted">No request in this time.</p>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Requests by route">
      <table>
        <thead>
          <tr>
            <th scope="col">Route</th>
            <th scope="col" class="number">
              Requests
            </th>
            <th scope="col" class="number">
              Per second
            </th>
            <th scope="col" class="statuses">
              By status
            </th>
            <th scope="col" class="number">
              p50
            </th>
            <th scope="col" class="number">
              p99
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={`${row.method} ${row.route}`}>
              <th scope="row">
                <code>
                  {row.method} {row.route}
                </code>
              </th>
              <td class="number">{number(row.requests)}</td>
              <td class="number">{number(row.perS)}</td>
              <td class="statuses">
                {row.statuses.map(([status, count]) => (
                  <span class={status >= "5" ? "bad" : status >= "4" ? "warn" : ""}>
                    {status}: {number(count)}
                  </span>
                ))}
              </td>
              <td class="number">{seconds(row.p50)}</td>
              <td class="number">{seconds(row.p99)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
