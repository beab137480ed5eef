/** What the response says of itself: its bundle, what it was made from, the arm, and where the time went. */
import { linkTo } from "../../route";
import type { Listing } from "./listing";
import { number } from "../../ui/format";

const SOURCES: Record<string, string> = {
  user: "the user's vector of training",
  fold_in: "past items and events, folded in",
  session: "the clicks of this page, folded in",
  popular: "what is popular: too little is known",
};

export function Facts({ listing }: { listing: Listing }) {
  const { answer, stages } = listing;
  const total = stages.find(({ name }) => name === "total")?.ms;
  const shown = stages.filter(({ name }) => name !== "total");
  return (
    <dl class="response" aria-label="The response">
      <div>
        <dt>Source</dt>
        <dd data-source={answer.source}>
          <code>{answer.source}</code> {SOURCES[answer.source]}
        </dd>
      </div>
      <div>
        <dt>Bundle</dt>
        <dd>
          <a href={linkTo("models", answer.bundle)}>{answer.bundle}</a>
        </dd>
      </div>
      {answer.experiment && (
        <div>
          <dt>Experiment</dt>
          <dd>
            <a href={linkTo("experiments")}>{answer.experiment}</a>, arm <code>{answer.arm}</code>
          </dd>
        </div>
      )}
      <div>
        <dt>Time</dt>
        <dd>
          {total != null && <strong>{number(total)} ms in the service</strong>}
          {shown.length > 0 && ` (${shown.map(({ name, ms }) => (ms === null ? name : `${name} ${number(ms)}`)).join(", ")})`}
          {`, ${number(listing.roundTripMs)} ms to this page`}
        </dd>
      </div>
      <div>
        <dt>Request</dt>
        <dd>
          <code>{answer.request_id}</code>
        </dd>
      </div>
    </dl>
  );
}
