/** What the person did in this page, and what became of it. */
import { useRef } from "preact/hooks";
import type { Problem } from "../../api";
import { ErrorNotice } from "../../ui/notice";
import { Picture } from "../../ui/picture";
import { useItem } from "./items";
import { counted } from "../../ui/format";
import { ActIcon } from "./shelf";
import type { Listing } from "./listing";
import { type Act, type Click, type Wish, show } from "./wish";
import "./deeds.css";

const SHOWN = 16;
const DID: Record<Act, string> = { like: "liked", dislike: "disliked", purchase: "bought" };

interface DeedsProps {
  wish: Wish;
  stored: readonly Click[]; // the user's events that this page sent
  listing: Listing | null; // null: it is under way
  problem: Problem | null; // why the last event was not stored
  retry: () => void;
}

export function Deeds({ wish, stored, listing, problem, retry }: DeedsProps) {
  const isVisitor = wish.user === "";
  const clicks = isVisitor ? wish.clicks : stored;
  const earlier = Math.max(0, clicks.length - SHOWN);
  const sentence = useRef<HTMLParagraphElement>(null);
  const takeBack = (left: readonly Click[]) => {
    if (left.length === 0) sentence.current?.focus(); // the button goes with the last click
    show({ ...wish, clicks: left });
  };
  return (
    <>
      {problem && <ErrorNotice problem={problem} retry={retry} />}
      {clicks.length > 0 && (
        <section class="deeds" aria-label="Clicks">
          <ul>
            {earlier > 0 && <li class="muted">{counted(earlier, "click")}, then</li>}
            {clicks.slice(earlier).map((click, i) => (
              <Deed key={earlier + i} click={click} />
            ))}
          </ul>
          {isVisitor && (
            <>
              <button type="button" onClick={() => takeBack(wish.clicks.slice(0, -1))}>
                Undo
              </button>
              <button type="button" class="quiet" onClick={() => takeBack([])}>
                Start over
              </button>
            </>
          )}
        </section>
      )}
      <p ref={sentence} class="said" role="status" tabIndex={-1}>
        {said(clicks, isVisitor, listing)}
      </p>
    </>
  );
}

function said(clicks: readonly Click[], isVisitor: boolean, listing: Listing | null): string {
  const last = clicks.at(-1);
  if (last === undefined) return isVisitor ? "Like something: the next list follows it." : "";
  const did = `You ${DID[last.act]} an item: ${isVisitor ? "kept only in this page" : "stored as an event"}.`;
  if (listing === null) return did;
  const before = listing.before;
  if (listing.items.length === 0) return `${did} The list is empty.`;
  const fresh = before === null ? 0 : listing.items.filter(({ item_id }) => !before.has(item_id)).length;
  const changed = before === null ? "" : ` ${counted(fresh, "item")} of ${listing.items.length} in the list ${fresh === 1 ? "is" : "are"} new.`;
  return did + changed;
}

function Deed({ click }: { click: Click }) {
  const item = useItem(click.itemId);
  const title = item?.title || click.itemId;
  return (
    <li class={`deed ${click.act}`} title={`${DID[click.act]}: ${title}`}>
      <span class="thumbnail">
        <Picture url={item?.image} title={title} />
      </span>
      <ActIcon act={click.act} />
      <span class="hidden-text">
        {DID[click.act]}: {title}
      </span>
    </li>
  );
}
