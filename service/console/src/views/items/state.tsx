/** Badges that say whether lists show an item. */
import type { Schemas } from "../../api";

type State = Schemas["CatalogueItem"]["state"];

const MEANING: Record<State, string> = {
  listed: "Lists show it.",
  hidden: "An operator hid it: no list shows it.",
  unavailable: "It is not available: no list shows it until it is again.",
  waiting: "The bundle that serves has no embedding for it yet.",
};

const LOOK: Record<State, string> = { listed: "good", hidden: "bad", unavailable: "warn", waiting: "warn" };

export function StateBadge({ state }: { state: State }) {
  return (
    <span class={`badge ${LOOK[state]}`} title={MEANING[state]}>
      {state}
    </span>
  );
}

/** What the state means, and why the item waits where it does. */
export function StateSentence({ state, reason }: { state: State; reason: string | null | undefined }) {
  return (
    <p class="muted">
      {MEANING[state]} {reason ?? ""}
    </p>
  );
}
