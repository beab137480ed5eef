/** Try it: a list for a user or for an unknown visitor, clicks that change the next one, and why each item is there. */
import { useEffect, useState } from "preact/hooks";
import { Problem, answer, api } from "../api";
import type { Route } from "../route";
import { useLeavingButton } from "../ui/focus";
import { ErrorNotice } from "../ui/notice";
import { Controls } from "./try/controls";
import { SameRequest } from "./try/copy";
import { Deeds } from "./try/deeds";
import { Facts } from "./try/facts";
import { type Listing, useListing } from "./try/listing";
import { Shelf } from "./try/shelf";
import { Who } from "./try/who";
import { AS_SERVED, type Act, type Click, type RecommendedItem, show, wishOf } from "./try/wish";
import "./try.css";

export function TryView({ route }: { route: Route }) {
  const wish = wishOf(route.params);
  const storing = useStoring(wish.user);
  const listing = useListing(wish, storing.stored.length);
  const { data, problem, waits } = listing;
  const filterProblem = problem?.code === "invalid_request" && problem.detail.startsWith("filter") ? problem : null;
  const clicks = wish.user === "" ? wish.clicks : storing.stored;
  const act = (one: Act, item: RecommendedItem) =>
    wish.user === ""
      ? show({ ...wish, clicks: [...wish.clicks, { act: one, itemId: item.item_id }] })
      : storing.store({ act: one, itemId: item.item_id }, data);
  const state = problem !== null ? "stale" : waits ? "waits" : "current";
  const acting = { act, busy: storing.busy, done: new Map(clicks.map((click) => [click.itemId, click.act])) };
  return (
    <div class="try">
      <Who wish={wish} turn={storing.stored.length} />
      <Controls wish={wish} filterProblem={filterProblem} />
      <div class="try-list">
        <Deeds wish={wish} stored={storing.stored} listing={waits ? null : data} problem={storing.problem} retry={storing.retry} />
        {problem !== null && filterProblem === null && <ErrorNotice problem={problem} retry={listing.reload} />}
        {filterProblem !== null && (
          <p class="notice">
            The filter cannot be read: the field says why.{data !== null && " Below is the list from before."}
          </p>
        )}
        {data === null ? !problem && <Skeleton k={wish.k} /> : <Result listing={data} state={state} acting={acting} />}
      </div>
      <SameRequest wish={wish} />
    </div>
  );
}

function Result({ listing, state, acting }: Parameters<typeof Shelf>[0]) {
  const { items, answer: found } = listing;
  return (
    <>
      {(found.warnings ?? []).map((warning) => (
        <p key={warning} class="warn">
          {warning}
        </p>
      ))}
      {items.length === 0 ? (
        <NothingMatches listing={listing} />
      ) : (
        <Shelf listing={listing} state={state} acting={acting} />
      )}
      {items.length > 0 && found.missing > 0 && <p class="muted">No more items match: {found.missing} fewer than wanted.</p>}
      <Facts listing={listing} />
    </>
  );
}

function NothingMatches({ listing }: { listing: Listing }) {
  const button = useLeavingButton();
  return (
    <div class="notice">
      <p>No item matches these options.</p>
      <button type="button" ref={button} onClick={() => show({ ...listing.wish, ...AS_SERVED })}>
        List items as served
      </button>
    </div>
  );
}

/** The cards' places while the first list loads. */
function Skeleton({ k }: { k: number }) {
  return (
    <>
      <p class="hidden-text" role="status">
        Loading …
      </p>
      <div class="shelf" aria-hidden="true">
        {Array.from({ length: Math.min(k, 12) }, (_, i) => (
          <div key={i} class="card item">
            <span class="picture" />
            <span class="line" />
            <span class="line" />
          </div>
        ))}
      </div>
    </>
  );
}

interface Storing {
  store: (click: Click, listing: Listing | null) => void;
  stored: readonly Click[]; // of this user, since the page was opened
  busy: ReadonlySet<string>;
  problem: Problem | null; // why the last click was not stored
  retry: () => void;
}

/** Stores clicks of a user as events. */
function useStoring(user: string): Storing {
  const [stored, setStored] = useState<ReadonlyMap<string, readonly Click[]>>(new Map());
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());
  const [failed, setFailed] = useState<{ problem: Problem; again: () => void } | null>(null);
  useEffect(() => setFailed(null), [user]);
  const store = async (click: Click, listing: Listing | null, eventId = newId()) => {
    setBusy((last) => new Set([...last, click.itemId]));
    setFailed(null);
    const event = {
      event_id: eventId, // sent again, the event counts once
      user_id: user,
      item_id: click.itemId,
      kind: click.act,
      ...(listing !== null && { request_id: listing.answer.request_id, bundle: listing.answer.bundle }),
    };
    try {
      await answer(api.POST("/events", { body: event as never })); // its other fields have defaults
      setStored((last) => new Map([...last, [user, [...(last.get(user) ?? []), click]]]));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setFailed({ problem: error, again: () => void store(click, listing, eventId) });
    } finally {
      setBusy((last) => new Set([...last].filter((itemId) => itemId !== click.itemId)));
    }
  };
  return {
    store: (click, listing) => void store(click, listing),
    stored: stored.get(user) ?? [],
    busy,
    problem: failed?.problem ?? null,
    retry: () => failed?.again(),
  };
}

/** Not `crypto.randomUUID`: a page that came without TLS lacks it. */
function newId(): string {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}
