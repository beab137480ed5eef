/** A user's list, the past items that explain it, and where all of them are on the map. */
import { type Schemas, answer, api } from "../../api";

const LISTED = 20;
const MOST_PAST = 40;

export interface Placed {
  id: string;
  title: string;
  place: readonly [number, number] | null; // null: not on the map
}

export interface Person {
  source: string; // what the list was made from
  list: (Placed & { because: string[] })[]; // best first, with the past items that add to its score
  past: Placed[]; // those that add most to the list first
}

export async function loadPerson(user: string): Promise<Person> {
  const options = { params: { path: { user_id: user }, query: { k: LISTED, explain: true } } };
  const recommended = await answer(api.GET("/recommend/{user_id}", options));
  const past = pastItems(recommended.items);
  const ids = [...new Set([...recommended.items.map((item) => item.item_id), ...past.keys()])];
  const places = await placesOf(ids);
  const placed = (id: string, title: string): Placed => ({ id, title: title || id, place: places.get(id) ?? null });
  return {
    source: recommended.source,
    list: recommended.items.map((item) => ({
      ...placed(item.item_id, item.title),
      because: (item.explanation?.past_items ?? []).filter((one) => one.contribution > 0).map((one) => one.item_id),
    })),
    past: [...past].map(([id, { title }]) => placed(id, title)),
  };
}

function pastItems(items: Schemas["RecommendedItem"][]): Map<string, { title: string; sum: number }> {
  const found = new Map<string, { title: string; sum: number }>();
  for (const one of items.flatMap((item) => item.explanation?.past_items ?? []))
    found.set(one.item_id, { title: one.title, sum: (found.get(one.item_id)?.sum ?? 0) + Math.abs(one.contribution) });
  return new Map([...found].sort(([, a], [, b]) => b.sum - a.sum).slice(0, MOST_PAST));
}

async function placesOf(ids: string[]): Promise<Map<string, readonly [number, number]>> {
  if (ids.length === 0) return new Map();
  const { map } = await answer(api.GET("/map", { params: { query: { k: 0, item_id: ids } } }));
  return new Map(map.item_ids.map((id, i) => [id, [map.x[i] ?? 0, map.y[i] ?? 0]]));
}
