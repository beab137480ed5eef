/** Try it: a list for a user or for an unknown visitor, clicks that change the next one, and why each item is there. */
import { useEffect, useState } from "preact/hooks";
import { Problem, answer, api } from "../api";
import type { Route } from "../route";
import { ErrorNotice } from "../ui/notice";
import { Controls } from "./try/controls";
import { SameRequest } from "./try/copy";
import { Deeds } from "./try/deeds";
import { Facts } from "./try/facts";
import { type Listing, useListing } from "./try/listing";
import { Shelf } from "./try/shelf";
import { Who } from "./try/who";
import { AS_SERVED, type Act, type Click, type RecommendedItem, type Wish, show, wishOf } from "./try/wish";
import "./try.css";

export function TryView({ route }: { route: Route }) {
  const wish = wishOf(route.params);
  const listing = useListing(wish);
  const storing = useStoring(wish, listing.data, listing.reload);
  const { data, problem } = listing;
  const filterProblem = problem?.code === "invalid_request" && problem.detail.startsWith("filter") ? problem : null;
  const clicks = wish.user === "" ? wish.clicks : storing.stored;
  const act = (one: Act, item: RecommendedItem) =>
    wish.user === ""
      ? show({ ...wish, clicks: [...wish.clicks, { act: one, itemId: item.item_id }] })
      : storing.store({ act: one, itemId: item.item_id });
  const acting = { act, busy: storing.busy, done: new Map(clicks.map((click) => [click.itemId, click.act])) };
  return (
    <div class="try">
      <Who wish={wish} turn={storing.stored.length} />
      <Controls wish={wish} filterProblem={filterProblem} />
      <div class="try-list">
        <Deeds wish={wish} stored={storing.stored} listing={data} problem={storing.problem} />
        {problem !== null && filterProblem === null && <ErrorNotice problem={problem} retry={listing.reload} />}
        {filterProblem !== null && (
          <p class="notice">
            The filter cannot be read: the field says why.{data !== null && " Below is the list from before."}
          </p>
        )}
        {data === null ? !problem && <Skeleton k={wish.k} /> : <Result listing={data} stale={problem !== null} acting={acting} />}
      </div>
      <SameRequest wish={wish} />
    </div>
  );
}

function Result({ listing, stale, acting }: Parameters<typeof Shelf>[0]) {
  const { items, answer: found } = listing;
  return (
    <>
      {(found.warnings ?? []).map((warning) => (
        <p key={warning} class="warn">
          {warning}
        </p>
      ))}
      {items.length === 0 ? (
        <div class="notice">
          <p>No item matches these options.</p>
          <button type="button" onClick={() => show({ ...listing.wish, ...AS_SERVED })}>
            List items as served
          </button>
        </div>
      ) : (
        <Shelf listing={listing} stale={stale} acting={acting} />
      )}
      {items.length > 0 && found.missing > 0 && <p class="muted">No more items match: {found.missing} fewer than wanted.</p>}
      <Facts listing={listing} />
    </>
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
  store: (click: Click) => void;
  stored: readonly Click[]; // of this user, since the page was opened
  busy: ReadonlySet<string>;
  problem: Problem | null;
}

/** Stores clicks of a user as events, and loads the list again after each. */
function useStoring(wish: Wish, listing: Listing | null, reload: () => void): Storing {
  const [stored, setStored] = useState<readonly Click[]>([]);
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    setStored([]);
    setProblem(null);
  }, [wish.user]);
  const store = async (click: Click) => {
    setBusy(new Set([click.itemId]));
    setProblem(null);
    const event = {
      user_id: wish.user,
      item_id: click.itemId,
      kind: click.act,
      ...(listing !== null && { request_id: listing.answer.request_id, bundle: listing.answer.bundle }),
    };
    try {
      await answer(api.POST("/events", { body: event as never })); // its other fields have defaults
      setStored((last) => [...last, click]);
      reload();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    } finally {
      setBusy(new Set());
    }
  };
  return { store: (click) => void store(click), stored, busy, problem };
}
