/** How this view names what the service names by identifiers. */
import { linkTo } from "../../route";
import { NOTHING, byWhom, number } from "../../ui/format";
import type { Arm, Experiment } from "./loading";

export const METRICS: Record<Experiment["metric"], string> = {
  click_through: "click-through",
  conversion: "conversion",
  revenue: "revenue per user",
};

const STATES: Record<Arm["state"], string> = { serving: "good", loading: "warn", unavailable: "bad", ended: "" };

/** What an arm does in the process that responds, and why it does not serve. */
export function ArmState({ arm }: { arm: Pick<Arm, "state" | "reason"> }) {
  return (
    <>
      <span class={`badge ${STATES[arm.state]}`}>{arm.state}</span>
      {arm.reason !== null && <span class="reason">{arm.reason.replace(/^ended by ([^:]+)/, (_, name: string) => `ended ${byWhom(name)}`)}</span>}
    </>
  );
}

export function BundleLink({ bundle }: { bundle: string | null }) {
  if (bundle === null) return <>{NOTHING}</>;
  return (
    <a class="bundle" href={linkTo("models", bundle)}>
      {bundle}
    </a>
  );
}

/** What the lift shows: the verdict, or why there is none. */
export function Verdict({ lift }: { lift: Arm["click_through"]["lift"] }) {
  if (lift === null) return <span class="muted">the reference</span>;
  if (lift.verdict !== null) return <strong class={lift.verdict === "better" ? "good" : "bad"}>{lift.verdict}</strong>;
  return <>{lift.too_little === null ? "no difference shown yet" : `too little data: ${lift.too_little}`}</>;
}

export function pValue(p: number | null | undefined): string {
  return typeof p === "number" && p < 0.001 ? "< 0.001" : number(p);
}
