/** What stands in a view's place while it loads, or where that failed. */
import type { ComponentChildren } from "preact";
import type { Loaded, Problem } from "../api";
import { useLeavingButton } from "./focus";

const ADVICE: Record<number, string> = {
  401: "Enter an API key at the top of the page.",
  403: "The key's role does not allow this; without keys, RECO_ADMIN_OPEN=true opens what admins do.",
  429: "The rate limit is reached.",
  503: "The service is overloaded, or a store that it needs is down: see Health.",
  504: "It took longer than RECO_REQUEST_TIMEOUT_S.",
};

const NO_RESPONSE: Record<string, string> = {
  unreachable: "Start the service again, then retry.",
  timeout: "The service may still be at work on it: wait a little, then retry; Health says whether it is overloaded.",
};

/** An error in the service's own words, and what to do. */
export function ErrorNotice({ problem, retry }: { problem: Problem; retry?: (() => void) | undefined }) {
  const button = useLeavingButton();
  const advice = problem.status === 0 ? NO_RESPONSE[problem.code] : ADVICE[problem.status];
  const wait = problem.retryAfterS === null ? "" : ` Retry in ${problem.retryAfterS} s.`;
  return (
    <div class="notice error" role="alert">
      <p>
        <strong>{problem.detail}</strong>
      </p>
      <p class="muted">
        {(advice ?? "") + wait} <code>{problem.code}</code>
        {problem.status > 0 && ` (${problem.status})`}
        {problem.requestId !== null && (
          <>
            , request <code>{problem.requestId}</code>
          </>
        )}
      </p>
      {retry && (
        <button type="button" ref={button} onClick={retry}>
          Retry
        </button>
      )}
    </div>
  );
}

/** What was loaded, once it is there; a failed reload is shown above the data of before. */
export function Await<T>({ loaded, children }: { loaded: Loaded<T>; children: (data: T) => ComponentChildren }) {
  return (
    <>
      {loaded.problem && <ErrorNotice problem={loaded.problem} retry={loaded.reload} />}
      {loaded.data !== null ? children(loaded.data) : !loaded.problem && <p role="status">Loading …</p>}
    </>
  );
}
