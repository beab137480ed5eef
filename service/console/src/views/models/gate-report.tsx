/** The gate's checks: what was found, what is required, and the verdict. */
import type { Schemas } from "../../api";

export function GateReport({ checks }: { checks: Schemas["GateCheck"][] }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Checks of the gate">
      <table class="models-checks">
        <thead>
          <tr>
            <th scope="col">Check</th>
            <th scope="col">Verdict</th>
            <th scope="col">Found</th>
            <th scope="col">Required</th>
          </tr>
        </thead>
        <tbody>
          {checks.map(({ name, passed, found, required }) => (
            <tr key={name} class={passed ? "" : "failed"}>
              <th scope="row">{name}</th>
              <td class={passed ? "good" : "bad"}>{passed ? "passed" : "failed"}</td>
              <td>{found}</td>
              <td>{required}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
