/** The report on an experiment: what decides first, then each metric, the arms, and the rest. */
import { useState } from "preact/hooks";
import { useLoaded } from "../../api";
import { goTo, linkTo } from "../../route";
import { byWhom, number, percent, signedPercent } from "../../ui/format";
import { IntervalTable } from "../../ui/interval";
import { Await } from "../../ui/notice";
import { Time } from "../../ui/time";
import { type Action, ActionDialog } from "./actions";
import { ArmsTable } from "./arms-table";
import { ReportDetails } from "./details";
import { type Report, loadReport } from "./loading";
import { METRICS, Verdict, pValue } from "./words";

const EVERY_MS = 15_000;
const MOST_PHASES = 101; // that a registry keeps

interface Given {
  name: string;
  phase: number | undefined; // undefined: the latest
  changed: (how: string) => void; // an action changed the experiment
}

export function ReportPanel({ name, phase, changed }: Given) {
  const loaded = useLoaded(() => loadReport(name, phase), [name, phase], EVERY_MS);
  const [action, setAction] = useState<Action | null>(null);
  const done = (how: string) => {
    setAction(null);
    loaded.reload();
    changed(how);
  };
  return (
    <Await loaded={loaded}>
      {(report) => (
        <>
          <Summary report={report} act={setAction} />
          <Metrics report={report} />
          <ArmsTable report={report} act={setAction} />
          <ReportDetails report={report} />
          {action && <ActionDialog action={action} report={report} done={done} close={() => setAction(null)} />}
        </>
      )}
    </Await>
  );
}

function Summary({ report, act }: { report: Report; act: (action: Action) => void }) {
  const { experiment, sample_ratio } = report;
  const isRunning = experiment.state === "running";
  const mismatch = sample_ratio !== null && !sample_ratio.passed;
  const [first, ...others] = report.warnings;
  const warnings = mismatch ? others : report.warnings;
  return (
    <section class="panel">
      <div class="heading">
        <h2>
          {experiment.name} <span class={`badge ${isRunning ? "good" : ""}`}>{experiment.state}</span>
        </h2>
        {experiment.phase > 1 && <PhaseChoice report={report} />}
      </div>
      {mismatch && (
        <div class="notice error" role="alert">
          <p>
            <strong>The users do not fall into the arms by weight: trust no figure below.</strong>
          </p>
          <p>{first}</p>
        </div>
      )}
      <p class="decision">
        <span class="muted">{isRunning ? "So far" : "In the end"}</span> <strong>{report.decision}</strong>
      </p>
      <p class="muted">
        {METRICS[experiment.metric]} decides; lifts of {percent(experiment.expected_lift)} are found soonest. Phase{" "}
        {report.phase} began <Time at={report.since} />
        {report.until !== null && (
          <>
            {" "}
            and ended <Time at={report.until} />
          </>
        )}
        . The experiment was started {byWhom(experiment.started.by)}, <Time at={experiment.started.at} />
        {experiment.ended && (
          <>
            , and ended {byWhom(experiment.ended.by)}, <Time at={experiment.ended.at} />
          </>
        )}
        .
        {experiment.winner !== null && ` The winner is ${experiment.winner}: its bundle was published to everybody.`}
        {sample_ratio?.passed && ` Users fall into the arms by weight (p ${pValue(sample_ratio.p_value)}).`}
      </p>
      {warnings.length > 0 && (
        <ul class="warnings" aria-label="Warnings">
          {warnings.map((one) => (
            <li key={one}>{one}</li>
          ))}
        </ul>
      )}
      {isRunning && (
        <p class="controls">
          <a class="button" href={linkTo("experiments", experiment.name, { show: "change" })}>
            Change arms or weights
          </a>
          <button type="button" class="danger" onClick={() => act({ does: "end" })}>
            End the experiment …
          </button>
        </p>
      )}
    </section>
  );
}

function PhaseChoice({ report }: { report: Report }) {
  const { name, phase: latest } = report.experiment;
  const phases = Array.from({ length: Math.min(latest, MOST_PHASES) }, (_, i) => latest - i);
  return (
    <label class="inline">
      Phase{" "}
      <select
        value={report.phase}
        onChange={({ currentTarget: { value } }) => goTo("experiments", name, { phase: Number(value) === latest ? "" : value })}
      >
        {phases.map((one) => (
          <option key={one} value={one}>
            {one === latest ? `${one}, the latest` : one}
          </option>
        ))}
      </select>
    </label>
  );
}

const SHOWN = [
  { field: "click_through", metric: "click_through", title: "Click-through", means: "clicks by items shown", format: percent },
  { field: "conversion", metric: "conversion", title: "Conversion", means: "users who converted by users", format: percent },
  { field: "revenue_per_user", metric: "revenue", title: "Revenue per user", means: "in your currency", format: number },
] as const;

function Metrics({ report }: { report: Report }) {
  return (
    <>
      {SHOWN.map(({ field, metric, title, means, format }) => (
        <section key={field} class="panel">
          <h2>
            {title}{" "}
            <span class="muted">
              {means}
              {metric === report.experiment.metric ? "; it decides" : "; for information"}
            </span>
          </h2>
          <IntervalTable
            title={`${title} of each arm`}
            first="Arm"
            format={format}
            reference={report.arms[0]?.[field].value}
            more={["Lift", "95% interval of the lift", "p", "Shows"]}
            rows={report.arms.map((arm) => {
              const { value, interval, too_little, lift } = arm[field];
              const ends = lift?.interval;
              return {
                id: arm.name,
                name: arm.name,
                value,
                interval,
                more: [
                  lift === null ? "–" : signedPercent(lift.value),
                  <span class="ends">{ends ? `${signedPercent(ends[0])} to ${signedPercent(ends[1])}` : "–"}</span>,
                  pValue(lift?.p_value),
                  lift === null && too_little !== null ? `too little data: ${too_little}` : <Verdict lift={lift} />,
                ],
              };
            })}
          />
        </section>
      ))}
    </>
  );
}
