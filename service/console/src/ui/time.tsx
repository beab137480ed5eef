/** A point in time. */
import { type Moment, dateOf, localTime, relativeTime } from "./format";

/** "3 hours ago", with the reader's local time beside it. */
export function Time({ at }: { at: Moment }) {
  return (
    <time dateTime={dateOf(at).toISOString()}>
      {localTime(at)} <span class="muted">({relativeTime(at)})</span>
    </time>
  );
}
