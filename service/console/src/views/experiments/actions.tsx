/** What admins do with a running experiment, each after a question that says what happens. */
import { useState } from "preact/hooks";
import { type Schemas, answer, api } from "../../api";
import { Confirm } from "../../ui/confirm";
import { BundleChoice, useBundles } from "./bundle-choice";
import type { Arm, Report } from "./loading";

export type Action = { does: "end" } | { does: "end-arm" | "publish" | "roll-back"; arm: Arm };

interface Given {
  action: Action;
  report: Report;
  done: (what: string) => void;
  close: () => void;
}

export function ActionDialog(given: Given) {
  const { action } = given;
  switch (action.does) {
    case "end":
      return <EndExperiment {...given} />;
    case "end-arm":
      return <EndArm {...given} arm={action.arm} />;
    case "publish":
      return <OtherBundle {...given} arm={action.arm} />;
    case "roll-back":
      return <RollBack {...given} arm={action.arm} />;
  }
}

type OfArm = Given & { arm: Arm };

function EndExperiment({ report, done, close }: Given) {
  const { name, arms } = report.experiment;
  const [winner, setWinner] = useState("");
  const bundle = arms.find((arm) => arm.name === winner)?.bundle ?? null;
  const body = { winner: winner || null };
  const run = () => answer(api.POST("/experiments/{name}/end", { params: { path: { name } }, body }));
  const after = ({ published }: Schemas["EndedAnswer"]) =>
    done(`${name} has ended. ${published === null ? "The published bundle stays." : `${published} is published to everybody.`}`);
  return (
    <Confirm title={`End ${name}?`} action="End the experiment" danger run={run} done={after} close={close}>
      <label class="field">
        Winner
        <select value={winner} onChange={(event) => setWinner(event.currentTarget.value)}>
          <option value="">none</option>
          {arms.map((arm) => (
            <option key={arm.name} value={arm.name}>
              {arm.name}
            </option>
          ))}
        </select>
      </label>
      <p>
        {bundle === null ? (
          "Every user gets the published bundle, as the control does now."
        ) : (
          <>
            The gate checks <code>{bundle}</code>, it is published, and every user gets it. If the gate refuses it, the
            experiment goes on.
          </>
        )}{" "}
        Nothing is counted for the arms from then on. The report stays; the name cannot be used again.
      </p>
    </Confirm>
  );
}

function EndArm({ report, arm, done, close }: OfArm) {
  const { name } = report.experiment;
  const body = { arm: arm.name };
  const run = () => answer(api.POST("/experiments/{name}/end-arm", { params: { path: { name } }, body }));
  return (
    <Confirm title={`End ${arm.name}?`} action="End the arm" danger run={run} done={() => done(`${arm.name} has ended.`)} close={close}>
      <p>
        Its users, {arm.weight}% of all, get the control from now on and count no more. The experiment goes on, and what the
        arm counted until now stays in the report. Another bundle would bring the arm back, in a new phase.
      </p>
    </Confirm>
  );
}

function OtherBundle({ report, arm, done, close }: OfArm) {
  const { name } = report.experiment;
  const [bundle, setBundle] = useState("");
  const listed = useBundles();
  const body = { arm: arm.name, bundle };
  const run = () => answer(api.POST("/experiments/{name}/publish", { params: { path: { name } }, body }));
  return (
    <Confirm
      title={`Give ${arm.name} another bundle?`}
      action="Give it this bundle"
      ready={bundle !== ""}
      run={run}
      done={() => done(`${arm.name} has ${bundle}.`)}
      close={close}
    >
      <BundleChoice label="Bundle" listed={listed} value={bundle} none="choose a bundle" choose={setBundle} />
      <p>
        The gate checks the bundle and this process loads it; then the arm's users are answered from it.{" "}
        {arm.state === "ended"
          ? "The arm had ended: a new phase begins, which is counted on its own."
          : "The phase goes on: the figures of both bundles are counted together."}
      </p>
    </Confirm>
  );
}

function RollBack({ report, arm, done, close }: OfArm) {
  const { name } = report.experiment;
  const body = { arm: arm.name, leaving: arm.bundle };
  const run = () => answer(api.POST("/experiments/{name}/rollback", { params: { path: { name } }, body }));
  return (
    <Confirm title={`Roll ${arm.name} back?`} action="Roll back" danger run={run} done={() => done(`${arm.name} was rolled back.`)} close={close}>
      <p>
        The arm's users get the bundle that the arm had before <code>{arm.bundle ?? "the published one"}</code>. Where it had
        none, the arm ends, and its users get the control.
      </p>
    </Confirm>
  );
}
