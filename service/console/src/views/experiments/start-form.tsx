/** Starts an experiment, or changes the arms of the running one; a refusal stands beside the form. */
import { useState } from "preact/hooks";
import { Problem, type Schemas, answer, api } from "../../api";
import { goTo, linkTo } from "../../route";
import { number } from "../../ui/format";
import { ErrorNotice } from "../../ui/notice";
import { type ArmFields, ArmRows, weightOf } from "./arm-rows";
import { BundleChoice, useBundles } from "./bundle-choice";
import type { Experiment } from "./loading";
import { NameField } from "./name-field";
import { METRICS } from "./words";

const AT_FIRST: ArmFields[] = [
  { name: "control", weight: "90", bundle: "" },
  { name: "candidate", weight: "10", bundle: "" },
];

function armsOf(experiment: Experiment): ArmFields[] {
  return experiment.arms.map(({ name, weight, bundle }) => ({ name, weight: String(weight), bundle: bundle ?? "" }));
}

/** changes: the running experiment that is changed; null: a new one is started. */
export function StartForm({ changes, done }: { changes: Experiment | null; done: (how: string) => void }) {
  const bundles = useBundles();
  const [name, setName] = useState(changes?.name ?? "");
  const [metric, setMetric] = useState<Experiment["metric"]>(changes?.metric ?? "click_through");
  const [lift, setLift] = useState(String((changes?.expected_lift ?? 0.1) * 100));
  const [arms, setArms] = useState(changes === null ? AT_FIRST : armsOf(changes));
  const [shadow, setShadow] = useState(changes?.shadow?.bundle ?? "");
  const [share, setShare] = useState(String((changes?.shadow?.share ?? 0.05) * 100));
  const [problem, setProblem] = useState<Problem | null>(null);
  const [sending, setSending] = useState(false);
  const send = (event: Event) => {
    event.preventDefault();
    setSending(true);
    setProblem(null);
    const body = {
      arms: arms.map((arm) => ({ name: arm.name, weight: weightOf(arm), bundle: arm.bundle || null })),
      metric,
      expected_lift: Number(lift) / 100,
      shadow: shadow === "" ? null : { bundle: shadow, share: Number(share) / 100 },
      ...(changes && { guardrails: changes.guardrails }),
    } as Schemas["GivenExperiment"]; // the service fills in what is left out
    answer(api.PUT("/experiments/{name}", { params: { path: { name } }, body })).then(
      () => {
        done(changes === null ? `${name} runs.` : `${name} was changed.`);
        goTo("experiments");
      },
      (error: unknown) => {
        setSending(false);
        if (error instanceof Problem) setProblem(error);
        else throw error;
      },
    );
  };
  return (
    <form class="panel start" onSubmit={send}>
      <h2>{changes === null ? "Start an experiment" : `Change ${changes.name}`}</h2>
      <div class="controls">
        {changes === null && (
          <label>
            Name
            <NameField value={name} placeholder="bigger-model" change={setName} />
          </label>
        )}
        <label>
          Metric that decides
          <select value={metric} onChange={(event) => setMetric(event.currentTarget.value as Experiment["metric"])}>
            {Object.entries(METRICS).map(([value, title]) => (
              <option key={value} value={value}>
                {title}
              </option>
            ))}
          </select>
        </label>
        <label>
          Expected lift, in percent
          <input type="number" step="any" value={lift} onInput={(event) => setLift(event.currentTarget.value)} />
        </label>
      </div>
      <ArmRows bundles={bundles} arms={arms} change={setArms} />
      <fieldset>
        <legend>Shadow: a bundle that answers too and is not shown</legend>
        <div class="controls">
          <BundleChoice listed={bundles} label="Bundle of the shadow" value={shadow} none="none" choose={setShadow} />
          {shadow !== "" && (
            <label>
              Share of the control's requests, in percent
              <input type="number" step="any" value={share} onInput={(event) => setShare(event.currentTarget.value)} />
            </label>
          )}
        </div>
      </fieldset>
      <Outcome arms={arms} isNew={changes === null} />
      {problem && <ErrorNotice problem={problem} />}
      <p class="controls">
        <button type="submit" class="primary" disabled={sending}>
          {sending ? "The bundles are checked and loaded …" : changes === null ? "Start the experiment" : "Change the experiment"}
        </button>
        <a href={linkTo("experiments")}>Cancel</a>
      </p>
    </form>
  );
}

/** What happens when the form is sent. */
function Outcome({ arms, isNew }: { arms: ArmFields[]; isNew: boolean }) {
  const parts = arms.map(
    (arm) => `${number(weightOf(arm))}% of the users get ${arm.bundle === "" ? "the published bundle" : arm.bundle} (${arm.name || "no name"})`,
  );
  return (
    <p>
      <strong>What happens:</strong> the gate checks the bundles and this process loads them. From then on {parts.join(", ")};
      a user always gets the same arm. {!isNew && "Other arms or weights begin a new phase, which is counted on its own."}
    </p>
  );
}
