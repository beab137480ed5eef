/** Asks before something is done that cannot simply be taken back. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "../api";
import "./confirm.css";
import { ErrorNotice } from "./notice";

interface Given<T> {
  title: string;
  action: string; // on the button that does it
  danger?: boolean;
  ready?: boolean; // false: something must be chosen before
  run: () => Promise<T>;
  done: (result: T) => void; // it was done
  close: () => void; // it was not
  children: ComponentChildren; // what happens then, and what there is to choose
}

/** A dialog with what will happen; a refusal is shown in it, and it stays open then. */
export function Confirm<T>({ title, action, danger = false, ready = true, run, done, close, children }: Given<T>) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [running, setRunning] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    const [shown, opener] = [dialog.current, document.activeElement];
    shown?.showModal();
    return () => {
      shown?.close();
      if (opener instanceof HTMLElement) opener.focus(); // the dialog, once taken off the page, does not give it back
    };
  }, []);
  const act = () => {
    setRunning(true);
    setProblem(null);
    run().then(done, (error: unknown) => {
      setRunning(false);
      setProblem(error instanceof Problem ? error : new Problem(0, "unexpected", String(error), null));
    });
  };
  return (
    <dialog ref={dialog} class="confirm" aria-labelledby="confirm-title" onCancel={close}>
      <h2 id="confirm-title">{title}</h2>
      {children}
      {problem && <ErrorNotice problem={problem} />}
      <p class="controls">
        <button type="button" class={danger ? "danger" : "primary"} disabled={running || !ready} onClick={act}>
          {running ? "Working …" : action}
        </button>
        <button type="button" class="quiet" onClick={close}>
          Cancel
        </button>
      </p>
    </dialog>
  );
}
