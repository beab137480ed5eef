/** Hides an item from every list, or shows it again, once that is confirmed. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Problem, answer, api } from "../api";
import { ErrorNotice } from "../ui/notice";

type Step = "idle" | "asking" | "sending";

export function HideItem({ itemId, hidden, changed }: { itemId: string; hidden: boolean; changed: () => void }) {
  const [step, setStep] = useState<Step>("idle");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [done, setDone] = useState("");
  const confirm = useRef<HTMLButtonElement>(null);
  const begin = useRef<HTMLButtonElement>(null);
  const wasAsking = useRef(false);
  useEffect(() => {
    if (step === "asking") confirm.current?.focus();
    else if (step === "idle" && wasAsking.current) begin.current?.focus();
    wasAsking.current = step !== "idle";
  }, [step]);

  const send = async () => {
    setStep("sending");
    setProblem(null);
    const path = { params: { path: { item_id: itemId } } };
    const request = hidden ? api.DELETE("/items/{item_id}/hidden", path) : api.PUT("/items/{item_id}/hidden", path);
    try {
      const told = await answer(request);
      setDone(told.hidden ? "Hidden: no list shows it from now on." : "Shown: lists may have it again.");
      changed();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    }
    setStep("idle");
  };

  return (
    <div class="hide">
      {step === "idle" ? (
        <button ref={begin} type="button" class={hidden ? "" : "danger"} onClick={() => setStep("asking")}>
          {hidden ? "Show it in lists again" : "Hide it from every list"}
        </button>
      ) : (
        <div class="notice" role="group" aria-label="Confirm">
          <p>
            {hidden
              ? "Show this item in lists again, in this bundle and later ones?"
              : "Hide this item from every list, in this bundle and later ones?"}
          </p>
          <p class="controls">
            <button
              ref={confirm}
              type="button"
              class={hidden ? "primary" : "danger"}
              disabled={step === "sending"}
              onClick={() => void send()}
            >
              {hidden ? "Show it" : "Hide it"}
            </button>
            <button type="button" disabled={step === "sending"} onClick={() => setStep("idle")}>
              Cancel
            </button>
          </p>
        </div>
      )}
      <p role="status" class="muted">
        {done}
      </p>
      {problem && <ErrorNotice problem={problem} />}
    </div>
  );
}
