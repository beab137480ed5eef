/** The experiments that ended, the latest first; each opens its report. */
import type { Schemas } from "../../api";
import { linkTo } from "../../route";
import { NOTHING, number } from "../../ui/format";
import { Time } from "../../ui/time";
import { METRICS } from "./words";

export function EndedList({ ended }: { ended: Schemas["ExperimentInfo"][] }) {
  if (ended.length === 0) return null;
  return (
    <section class="panel">
      <h2>Ended ({number(ended.length)})</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Experiments that ended">
        <table>
          <thead>
            <tr>
              <th scope="col">Experiment</th>
              <th scope="col">Arms</th>
              <th scope="col">Decided by</th>
              <th scope="col">Winner</th>
              <th scope="col">Ended</th>
            </tr>
          </thead>
          <tbody>
            {ended.toReversed().map((one) => (
              <tr key={one.name}>
                <th scope="row">
                  <a href={linkTo("experiments", one.name)}>{one.name}</a>
                </th>
                <td>{one.arms.map((arm) => `${arm.name} ${number(arm.weight)}%`).join(", ")}</td>
                <td>{METRICS[one.metric]}</td>
                <td>{one.winner ?? NOTHING}</td>
                <td>{one.ended && <Time at={one.ended.at} />}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
