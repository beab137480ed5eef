/** The list as a shelf of cards, with what one can do to each item and why it is there. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useLoaded } from "../../api";
import { linkTo } from "../../route";
import { Picture } from "../../ui/picture";
import { remember } from "./items";
import { type Listing, type RanksWithout, ranksWithout } from "./listing";
import { number } from "../../ui/format";
import { Why, type Without } from "./why";
import { type Act, ACTS, type RecommendedItem } from "./wish";
import "./shelf.css";

const ACT_WORDS: Record<Act, string> = { like: "Like", dislike: "Dislike", purchase: "Buy" };
const ICONS: Record<Act, string> = {
  like: "M8 14 2.4 8.3a3.6 3.6 0 0 1 5-5.1l.6.5.6-.5a3.6 3.6 0 0 1 5 5.1z",
  dislike: "M3.5 3.5l9 9m0-9l-9 9",
  purchase: "M3 5h10l-1 9H4zM5.5 5a2.5 2.5 0 0 1 5 0",
};

export interface Acting {
  act: (act: Act, item: RecommendedItem) => void;
  busy: ReadonlySet<string>; // items whose events are being stored
  done: ReadonlyMap<string, Act>; // what was done to an item last
}

interface ShelfProps {
  listing: Listing;
  state: "current" | "waits" | "stale"; // the next list is under way; it could not be loaded
  acting: Acting;
}

export function Shelf({ listing, state, acting }: ShelfProps) {
  const without = useWithout(listing);
  const shelf = useRef<HTMLOListElement>(null);
  const pressed = useRef<{ itemId: string; index: number; act: Act } | null>(null);
  const id = listing.answer.request_id;
  useEffect(() => {
    listing.items.forEach((item) => remember(item.item_id, { title: item.title ?? "", image: item.image ?? null }));
    // The card that was clicked has moved, or left the list: the keyboard goes on from it, or from the one in its place.
    if (pressed.current !== null && document.activeElement === document.body) {
      const { itemId, index, act } = pressed.current;
      const place = listing.items.findIndex((item) => item.item_id === itemId);
      const card = shelf.current?.children[place < 0 ? index : place];
      card?.querySelector<HTMLElement>(`[data-act=${act}]`)?.focus({ preventScroll: true });
    }
    pressed.current = null;
  }, [id]);
  const top = Math.max(...listing.items.map(({ score }) => Math.abs(score)), 0);
  return (
    <ol class={`shelf ${state}`} ref={shelf} aria-label="Recommended items" aria-busy={state === "waits"}>
      {listing.items.map((item, index) => (
        <Card
          key={item.item_id}
          item={item}
          top={top}
          isFirst={index === 0}
          before={listing.before}
          without={without}
          acting={{ ...acting, act: (act, one) => ((pressed.current = { itemId: item.item_id, index, act }), acting.act(act, one)) }}
        />
      ))}
    </ol>
  );
}

/** The ranks without past items: one more request, once one of them is wanted. */
function useWithout(listing: Listing): Without {
  const id = listing.answer.request_id;
  const [wanted, setWanted] = useState(false);
  const ranks = useLoaded<RanksWithout | null>(async () => (wanted ? ranksWithout(listing.wish) : null), [id, wanted]);
  const { diversity, cap, seed } = listing.wish;
  const placed = listing.items.some((item) => item.exploration || item.pinned); // also where the service is set so
  const ordered = diversity > 0 || cap !== null || seed !== null || placed;
  return { ranks, request: () => setWanted(true), ordered };
}

interface CardProps {
  item: RecommendedItem;
  top: number; // the largest score of the list
  isFirst: boolean;
  before: ReadonlyMap<string, number> | null;
  without: Without;
  acting: Acting;
}

function Card({ item, top, isFirst, before, without, acting }: CardProps) {
  const [chosen, setChosen] = useState<boolean | null>(null);
  const open = chosen ?? (isFirst && Boolean(item.explanation?.parts));
  const title = item.title || item.item_id;
  const done = acting.done.get(item.item_id);
  const busy = acting.busy.has(item.item_id);
  return (
    <li class={`card item${open ? " open" : ""}${before !== null && !before.has(item.item_id) ? " fresh" : ""}`} data-item={item.item_id}>
      <div class="face">
        <div class="frame">
          <Picture url={item.image} title={title} />
          <span class="rank">
            <span class="hidden-text">Rank </span>
            {item.rank}
          </span>
          <Moved item={item} before={before} />
        </div>
        <h3>
          <a href={linkTo("items", item.item_id)}>{title}</a>
        </h3>
        <p class="muted">
          {item.category}
          {item.exploration && <span class="mark">explored</span>}
          {item.pinned && <span class="mark">pinned</span>}
        </p>
        <p class="score">
          <span class="track" aria-hidden="true">
            <span class="fill" style={{ width: `${top > 0 ? (100 * Math.max(item.score, 0)) / top : 0}%` }} />
          </span>
          <span class="hidden-text">Score </span>
          <span class="number">{number(item.score)}</span>
        </p>
        <div class="acts">
          {ACTS.map((act) => (
            <button
              key={act}
              type="button"
              class={`act ${act}`}
              data-act={act}
              aria-label={`${ACT_WORDS[act]} ${title}`}
              title={ACT_WORDS[act]}
              aria-pressed={done === act}
              aria-disabled={busy} // `disabled` would take the keyboard's place away
              onClick={() => busy || acting.act(act, item)}
            >
              <ActIcon act={act} />
              <span class="act-name">{ACT_WORDS[act]}</span>
            </button>
          ))}
        </div>
      </div>
      <details open={open}>
        <summary onClick={(event) => (event.preventDefault(), setChosen(!open))}>
          Why<span class="hidden-text"> {title}</span>
        </summary>
        {open && <Why item={item} without={without} />}
      </details>
    </li>
  );
}

export function ActIcon({ act }: { act: Act }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={ICONS[act]} />
    </svg>
  );
}

/** How the item has moved since the list before. */
function Moved({ item, before }: { item: RecommendedItem; before: ReadonlyMap<string, number> | null }) {
  if (before === null) return null;
  const rank = before.get(item.item_id);
  if (rank === undefined) return <span class="moved new">new</span>;
  if (rank === item.rank) return null;
  const places = Math.abs(rank - item.rank);
  return (
    <span class="moved">
      <span aria-hidden="true">{rank > item.rank ? "▲" : "▼"} </span>
      <span class="hidden-text">{rank > item.rank ? "up" : "down"} by </span>
      {places}
    </span>
  );
}
