/** The list that the service answers a wish with, and what the view says of it. */
import { useRef } from "preact/hooks";
import { type Loaded, type Schemas, answer, api, useLoaded } from "../../api";
import { type RecommendedItem, type Wish, addressOf, parametersOf, sessionOf } from "./wish";

type Answer = Schemas["RecommendAnswer"] | Schemas["SessionAnswer"];

export interface Stage {
  name: string;
  ms: number | null;
}

export interface Listing {
  asked: string; // for what: as `useListing` names it
  wish: Wish; // what it answers
  answer: Answer;
  items: readonly RecommendedItem[];
  stages: readonly Stage[]; // of Server-Timing
  roundTripMs: number;
  before: ReadonlyMap<string, number> | null; // ranks in the list before, of the same person; null: there was none
}

/** `user;dur=0.6, search;dur=0.1, kept`: the stages of a response. */
export function stagesOf(header: string | null): Stage[] {
  return (header ?? "").split(",").flatMap((part) => {
    const [name = "", ...fields] = part.split(";").map((text) => text.trim());
    const duration = fields.find((field) => field.startsWith("dur="))?.slice(4);
    return name === "" ? [] : [{ name, ms: duration === undefined ? null : Number(duration) }];
  });
}

/** Request the list; with `counterfactual` also the ranks without each past item. */
async function request(wish: Wish, counterfactual: boolean): Promise<Omit<Listing, "asked" | "before">> {
  const options = { ...parametersOf(wish), ...(counterfactual && { counterfactual }) };
  const from = performance.now();
  const exchange =
    wish.user !== ""
      ? api.GET("/recommend/{user_id}", { params: { path: { user_id: wish.user }, query: options } })
      : api.POST("/recommend", { body: { ...sessionOf(wish.clicks), ...options } as never }); // its other fields have defaults
  const found: Answer = await answer<Answer>(exchange);
  const stages = stagesOf((await exchange).response.headers.get("Server-Timing"));
  return { wish, answer: found, items: found.items, stages, roundTripMs: performance.now() - from };
}

function ranksOf(listing: Pick<Listing, "items">): Map<string, number> {
  return new Map(listing.items.map((item) => [item.item_id, item.rank]));
}

/** The list of a wish, loaded again when it changes, after an event of the user is stored, and on `reload`.
 *
 * `waits`: a newer list is under way, and `data` is still that of before. */
export function useListing(wish: Wish, stored: number): Loaded<Listing> & { waits: boolean } {
  const last = useRef<Pick<Listing, "wish" | "items"> | null>(null);
  const asked = `${stored} ${addressOf(wish)}`;
  const loaded = useLoaded(async () => {
    const found = await request(wish, false);
    const before = last.current !== null && last.current.wish.user === wish.user ? ranksOf(last.current) : null;
    last.current = found;
    return { ...found, asked, before };
  }, [asked]);
  return { ...loaded, waits: loaded.data !== null && loaded.data.asked !== asked && loaded.problem === null };
}

/** `ITEM PAST` to the rank of ITEM without PAST; null where nothing is left to rank by. */
export type RanksWithout = ReadonlyMap<string, number | null>;

export const pairOf = (itemId: string, pastId: string) => `${itemId} ${pastId}`;

export async function ranksWithout(wish: Wish): Promise<RanksWithout> {
  const { items } = await request(wish, true);
  const pairs = items.flatMap((item) =>
    (item.explanation?.past_items ?? []).map(
      (past): [string, number | null] => [pairOf(item.item_id, past.item_id), past.rank_without ?? null],
    ),
  );
  return new Map(pairs);
}
