/** One bundle: all its metrics, its gate report, who published it and why it was withdrawn. */
import type { Schemas } from "../../api";
import { linkTo } from "../../route";
import { byWhom, bytes, number } from "../../ui/format";
import { Time } from "../../ui/time";
import { State } from "./bundle-table";
import { GateReport } from "./gate-report";

export function BundleDetails({ id, bundle }: { id: string; bundle: Schemas["BundleInfo"] | undefined }) {
  return (
    <section class="panel" aria-labelledby="bundle-heading">
      <p class="close">
        <a href={linkTo("models")}>Close</a>
      </p>
      <h2 id="bundle-heading">
        {bundle?.model ?? "Bundle"} <code>{id}</code>
      </h2>
      {bundle === undefined ? <p>The registry has no bundle of this id.</p> : <Details one={bundle} />}
    </section>
  );
}

function Details({ one }: { one: Schemas["BundleInfo"] }) {
  return (
    <>
      {one.unreadable !== null && <p class="notice error">{one.unreadable}</p>}
      {one.withdrawn && (
        <p class="notice error">
          Withdrawn {byWhom(one.withdrawn.by)}, <Time at={one.withdrawn.at} />: {one.withdrawn.why}. Only a publish by hand
          makes it serve again.
        </p>
      )}
      <dl class="pairs">
        <dt>State</dt>
        <dd>{one.role === "" && !one.withdrawn ? "not published now" : <State one={one} />}</dd>
        {one.created_at && (
          <>
            <dt>Made</dt>
            <dd>
              <Time at={one.created_at} />
            </dd>
          </>
        )}
        <dt>Published</dt>
        <dd>
          {one.published ? (
            <>
              {byWhom(one.published.by)}, <Time at={one.published.at} />
              {one.published.why !== "" && `: ${one.published.why}`}
            </>
          ) : (
            "no record"
          )}
        </dd>
        <dt>Trained on</dt>
        <dd>
          {number(one.n_interactions)} interactions of {number(one.n_users)} users with {number(one.n_items)} items
        </dd>
        <dt>Size</dt>
        <dd>
          {bytes(one.bytes)}, index {String(one.index?.["factory"] ?? "–")}
        </dd>
      </dl>
      <h3>Gate report</h3>
      {one.gate ? (
        <>
          <p class={one.gate.passed ? "good" : "bad"}>
            {one.gate.passed ? "The gate passed it" : "The gate refused it"}
            {one.gated_at && (
              <>
                , <Time at={one.gated_at} />
              </>
            )}
            .
          </p>
          <GateReport checks={one.gate.checks} />
        </>
      ) : (
        <p class="muted">The gate has not run on it. A publish runs it.</p>
      )}
      {one.metrics && <Metrics metrics={one.metrics} />}
    </>
  );
}

const FIRST = /^[a-z]+@20$/; // shown without being asked for

function Metrics({ metrics }: { metrics: Record<string, Record<string, number>> }) {
  const names = [...new Set(Object.values(metrics).flatMap((split) => Object.keys(split)))];
  const firsts = names.filter((name) => FIRST.test(name));
  const others = names.filter((name) => !FIRST.test(name));
  return (
    <>
      <h3>Metrics</h3>
      <MetricsTable metrics={metrics} names={firsts} label="Metrics by split" />
      {others.length > 0 && (
        <details>
          <summary>{number(others.length)} more metrics</summary>
          <MetricsTable metrics={metrics} names={others} label="More metrics by split" />
        </details>
      )}
    </>
  );
}

interface TableGiven {
  metrics: Record<string, Record<string, number>>;
  names: string[];
  label: string;
}

function MetricsTable({ metrics, names, label }: TableGiven) {
  const splits = Object.keys(metrics).sort();
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            <th scope="col">Metric</th>
            {splits.map((split) => (
              <th key={split} scope="col" class="number">
                {split}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {names.map((name) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              {splits.map((split) => (
                <td key={split} class="number">
                  {number(metrics[split]?.[name])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
