/** The arms: what they serve, whom, and what may be done with them. */
import { milliseconds, number } from "../../ui/format";
import type { Action } from "./actions";
import type { Arm, Report } from "./loading";
import { ArmState, BundleLink } from "./words";

export function ArmsTable({ report, act }: { report: Report; act: (action: Action) => void }) {
  const { experiment, arms } = report;
  const isRunning = experiment.state === "running";
  const isLatest = isRunning && report.phase === experiment.phase;
  const counts = isRunning ? [...COUNTS, ...TRAFFIC] : COUNTS;
  return (
    <section class="panel">
      <h2>Arms</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Arms">
        <table>
          <thead>
            <tr>
              <th scope="col">Arm</th>
              <th scope="col" class="number">
                Weight
              </th>
              <th scope="col">State</th>
              <th scope="col">Bundle</th>
              {counts.map(({ title }) => (
                <th key={title} scope="col" class="number">
                  {title}
                </th>
              ))}
              {isLatest && <th scope="col">Change</th>}
            </tr>
          </thead>
          <tbody>
            {arms.map((arm, i) => (
              <tr key={arm.name}>
                <th scope="row">
                  {arm.name} {i === 0 && arm.name !== "control" && <span class="muted">control</span>}
                </th>
                <td class="number">{number(arm.weight)}%</td>
                <td>
                  <ArmState arm={arm} />
                </td>
                <td>
                  {(arm.bundle ?? arm.serves) !== null && <BundleLink bundle={arm.bundle ?? arm.serves} />}
                  {arm.bundle === null && <span class="reason">the published one</span>}
                </td>
                {counts.map(({ title, of }) => (
                  <td key={title} class="number">
                    {of(arm)}
                  </td>
                ))}
                {isLatest && <td>{i > 0 && <ArmActions arm={arm} act={act} />}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {isRunning && (
        <p class="muted">
          Answers, errors and the 99th percentile are those of the arm's bundle in the process that responds, since it serves.
        </p>
      )}
    </section>
  );
}

const COUNTS: { title: string; of: (arm: Arm) => string }[] = [
  { title: "Users", of: ({ users }) => number(users) },
  { title: "Items shown", of: ({ impressions }) => number(impressions) },
  { title: "Clicks", of: ({ clicks }) => number(clicks) },
  { title: "Converted", of: ({ converters }) => number(converters) },
  { title: "Conversions", of: ({ conversions }) => number(conversions) },
  { title: "Revenue", of: ({ revenue }) => number(revenue) },
];

const TRAFFIC: typeof COUNTS = [
  { title: "Answers", of: ({ traffic }) => number(traffic?.answers) },
  { title: "Errors", of: ({ traffic }) => number(traffic?.errors) },
  { title: "p99", of: ({ traffic }) => (traffic?.answers ? milliseconds(traffic.p99_ms) : "–") },
];

function ArmActions({ arm, act }: { arm: Arm; act: (action: Action) => void }) {
  const isEnded = arm.state === "ended";
  return (
    <div class="actions">
      <button type="button" class="quiet" aria-label={`Other bundle for ${arm.name}`} onClick={() => act({ does: "publish", arm })}>
        Other bundle …
      </button>
      {!isEnded && (
        <>
          <button type="button" class="quiet" aria-label={`Roll back ${arm.name}`} onClick={() => act({ does: "roll-back", arm })}>
            Roll back …
          </button>
          <button type="button" class="danger" aria-label={`End ${arm.name}`} onClick={() => act({ does: "end-arm", arm })}>
            End …
          </button>
        </>
      )}
    </div>
  );
}
