/** The rest of a report: what the shadow would have shown, what ends an arm, and memory. */
import { NOTHING, bytes, milliseconds, number, percent } from "../../ui/format";
import type { Comparison as Compared, Report } from "./loading";
import { BundleLink } from "./words";

export function ReportDetails({ report }: { report: Report }) {
  const { guardrails, shadow } = report.experiment;
  const { memory } = report;
  const off = (value: number | null, written: string) => (value === null ? "off" : written);
  return (
    <>
      {shadow && (
        <section class="panel">
          <h2>
            Shadow <span class="muted">answers too and is not shown</span>
          </h2>
          <p class="muted">
            <BundleLink bundle={shadow.bundle} /> answers {percent(shadow.share)} of the control's requests
            {shadow.reason === null ? "." : `: not now, as ${shadow.reason}.`}
          </p>
          {report.shadow.length === 0 && <p>Nothing is compared yet.</p>}
          {report.shadow.map((one) => (
            <Comparison key={`${one.bundle}/${one.shown_bundle}`} one={one} />
          ))}
        </section>
      )}
      <section class="panel columns">
        <div>
          <h2>Guardrails</h2>
          <p class="muted">An arm ends, or gets its bundle before, when</p>
          <dl class="pairs numbers">
            <dt>Failed requests exceed</dt>
            <dd>{off(guardrails.max_error_share, percent(guardrails.max_error_share))}</dd>
            <dt>1% are slower than the control's p99 times</dt>
            <dd>{off(guardrails.max_p99_ratio, number(guardrails.max_p99_ratio))}</dd>
            <dt>Different items shown fall below, of the control's</dt>
            <dd>{off(guardrails.min_coverage, percent(guardrails.min_coverage))}</dd>
            <dt>Not before so many requests</dt>
            <dd>{number(guardrails.min_requests)}</dd>
          </dl>
        </div>
        {memory.bundles > 0 && (
          <div>
            <h2>Memory</h2>
            <p class="muted">of the process that responds</p>
            <dl class="pairs numbers">
              <dt>Different bundles of the arms and the shadow</dt>
              <dd>{number(memory.bundles)}</dd>
              <dt>Their files</dt>
              <dd>{bytes(memory.bytes)}</dd>
              <dt>Of them in memory once for several bundles</dt>
              <dd>{bytes(memory.shared_bytes)}</dd>
            </dl>
          </div>
        )}
      </section>
    </>
  );
}

const SIDES = [
  { title: "Median time to compute", of: (side: Side) => milliseconds(side.p50_ms) },
  { title: "99th percentile", of: (side: Side) => milliseconds(side.p99_ms) },
  { title: "Different items", of: (side: Side) => number(side.distinct_items) },
  { title: "Scores, 5% to 95%", of: (side: Side) => scores(side.score_quantiles) },
];

type Side = Compared["shown"];

function scores(quantiles: Side["score_quantiles"]): string {
  return quantiles === null ? NOTHING : Object.values(quantiles).map(number).join(", ");
}

function Comparison({ one }: { one: Compared }) {
  return (
    <div class="columns">
      <div class="scroll" tabIndex={0} role="region" aria-label={`Shadow beside ${one.shown_bundle}`}>
        <table>
          <thead>
            <tr>
              <td />
              <th scope="col">Shown: {one.shown_bundle}</th>
              <th scope="col">Shadow</th>
            </tr>
          </thead>
          <tbody>
            {SIDES.map(({ title, of }) => (
              <tr key={title}>
                <th scope="row">{title}</th>
                <td>{of(one.shown)}</td>
                <td>{of(one.shadow)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div>
        <p>
          Of the items shown the shadow lists <strong>{percent(one.mean_overlap)}</strong> too, and the same item first for{" "}
          <strong>{percent(one.same_first)}</strong> of the requests.
        </p>
        <Overlaps counts={one.overlap_counts} />
        <p class="muted">
          {number(one.compared)} requests compared, {number(one.dropped)} dropped as the service was busy,{" "}
          {number(one.errors)} failed
          {one.workers_missing ? `; ${number(one.workers_missing)} workers did not reply` : ""}.
        </p>
      </div>
    </div>
  );
}

/** Requests by the share of the shown items that the shadow lists too. */
function Overlaps({ counts }: { counts: readonly number[] }) {
  const most = Math.max(...counts, 1);
  const last = counts.length - 1;
  return (
    <ul class="overlaps" aria-label="Requests by overlap of the lists">
      {counts.map((n, i) => (
        <li key={i}>
          <span class="bar-box">
            <span class="bar-part" style={{ height: `${(100 * n) / most}%` }} />
          </span>
          <span class="muted">{i === last ? "100%" : `${10 * i}%`}</span>
          <span>{number(n)}</span>
        </li>
      ))}
    </ul>
  );
}
