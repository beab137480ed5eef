/** The fields of the arms in the form. */
import { number } from "../../ui/format";
import { BundleChoice, type Listed } from "./bundle-choice";
import { NameField } from "./name-field";

export interface ArmFields {
  name: string;
  weight: string; // as typed
  bundle: string; // "": the published one
}

const MOST_ARMS = 10;

/** null, which the service refuses, where it is no number. */
export function weightOf(arm: ArmFields): number | null {
  return arm.weight.trim() === "" || Number.isNaN(Number(arm.weight)) ? null : Number(arm.weight);
}

interface Given {
  bundles: Listed;
  arms: ArmFields[];
  change: (arms: ArmFields[]) => void;
}

export function ArmRows({ bundles, arms, change }: Given) {
  const set = (i: number, fields: Partial<ArmFields>) => change(arms.map((arm, k) => (k === i ? { ...arm, ...fields } : arm)));
  const sum = arms.reduce((total, arm) => total + (weightOf(arm) ?? 0), 0);
  return (
    <>
      {arms.map((arm, i) => (
        <fieldset key={i}>
          <legend>{i === 0 ? "Control" : `Arm ${i + 1}`}</legend>
          <div class="controls">
            <label>
              Name of the arm
              <NameField value={arm.name} change={(name) => set(i, { name })} />
            </label>
            <label>
              Weight, in percent
              <input type="number" step="any" value={arm.weight} onInput={(event) => set(i, { weight: event.currentTarget.value })} />
            </label>
            {i === 0 ? (
              <p class="muted">It has the published bundle.</p>
            ) : (
              <>
                <BundleChoice
                  listed={bundles}
                  label="Bundle of the arm"
                  value={arm.bundle}
                  none="the published one"
                  choose={(bundle) => set(i, { bundle })}
                />
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Remove arm ${i + 1}`}
                  onClick={() => change(arms.filter((_, k) => k !== i))}
                >
                  Remove
                </button>
              </>
            )}
          </div>
        </fieldset>
      ))}
      <p class="controls">
        <button
          type="button"
          disabled={arms.length >= MOST_ARMS}
          onClick={() => change([...arms, { name: `arm-${arms.length + 1}`, weight: "0", bundle: "" }])}
        >
          Add an arm
        </button>
        {Math.abs(sum - 100) < 1e-6 ? (
          <span class="muted">The weights sum to 100%.</span>
        ) : (
          <span class="warn">The weights sum to {number(sum)}%, expected 100%.</span>
        )}
      </p>
    </>
  );
}
