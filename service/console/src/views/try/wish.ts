/** What the view Try it shows, as its address holds it: for whom, what they clicked, and the options of the list. */
import type { Schemas } from "../../api";

export const ACTS = ["like", "dislike", "purchase"] as const;
export type Act = (typeof ACTS)[number];
export interface Click {
  act: Act;
  itemId: string;
}

export const SPACES = ["fused", "id", "text", "image", "multimodal"] as const;
export type Space = (typeof SPACES)[number];

export interface Options {
  k: number;
  filter: string;
  category: string;
  diversity: number;
  space: Space; // of the diversity
  cap: number | null; // most items of a category
  exploration: number | null; // null: as the operator set it
  seed: number | null;
  withSeen: boolean;
}

export interface Wish extends Options {
  user: string; // "": an unknown visitor
  clicks: readonly Click[]; // of the visitor, oldest first
}

export const AS_SERVED: Options = {
  k: 12,
  filter: "",
  category: "",
  diversity: 0,
  space: "fused",
  cap: null,
  exploration: null,
  seed: null,
  withSeen: false,
};

function numberIn(params: URLSearchParams, name: string): number | null {
  const text = params.get(name);
  const value = Number(text);
  return text === null || text === "" || !Number.isFinite(value) ? null : value;
}

function asClick(text: string): Click | null {
  const [act, ...rest] = text.split(":");
  const known = ACTS.find((one) => one === act);
  return known === undefined || rest.length === 0 ? null : { act: known, itemId: rest.join(":") };
}

export function wishOf(params: URLSearchParams): Wish {
  const space = SPACES.find((one) => one === params.get("by"));
  return {
    user: params.get("user") ?? "",
    clicks: params.getAll("did").flatMap((text) => asClick(text) ?? []),
    k: numberIn(params, "k") ?? AS_SERVED.k,
    filter: params.get("filter") ?? "",
    category: params.get("category") ?? "",
    diversity: numberIn(params, "diversity") ?? 0,
    space: space ?? "fused",
    cap: numberIn(params, "cap"),
    exploration: numberIn(params, "exploration"),
    seed: numberIn(params, "seed"),
    withSeen: params.get("seen") === "true",
  };
}

/** The view's address; what is as served is left out. */
export function addressOf(wish: Wish): string {
  const params = new URLSearchParams();
  const add = (name: string, value: string | number | null, usual: string | number | null) =>
    value !== usual && value !== null && params.append(name, String(value));
  add("user", wish.user, "");
  if (wish.user === "") wish.clicks.forEach(({ act, itemId }) => params.append("did", `${act}:${itemId}`));
  add("k", wish.k, AS_SERVED.k);
  add("filter", wish.filter, "");
  add("category", wish.category, "");
  add("diversity", wish.diversity, 0);
  add("by", wish.space, "fused");
  add("cap", wish.cap, null);
  add("exploration", wish.exploration, null);
  add("seed", wish.seed, null);
  add("seen", String(wish.withSeen), "false");
  return params.size > 0 ? `#/try?${params}` : "#/try";
}

/** Go to the address of the wish: a step of the browser's history, or in place of the present one. */
export function show(wish: Wish, step = true): void {
  const address = addressOf(wish);
  if (step) location.hash = address;
  else {
    history.replaceState(null, "", address);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}

/** The options as parameters of GET /recommend and fields of POST /recommend, without those that are as served. */
export function parametersOf(wish: Wish) {
  return {
    k: wish.k,
    explain: true,
    ...(wish.filter !== "" && { filter: wish.filter }),
    ...(wish.category !== "" && { category: [wish.category] }),
    ...(wish.diversity !== 0 && { diversity: wish.diversity, diversity_by: wish.space }),
    ...(wish.cap !== null && { category_cap: wish.cap }),
    ...(wish.exploration !== null && { exploration: wish.exploration }),
    ...(wish.seed !== null && { seed: wish.seed }),
    ...(wish.withSeen && { exclude_seen: false }),
  };
}

/** The visitor's clicks as a session; the last click on an item counts, and a purchase is one more past item. */
export function sessionOf(clicks: readonly Click[]) {
  const last = new Map<string, Act>();
  for (const { act, itemId } of clicks) {
    last.delete(itemId);
    last.set(itemId, act);
  }
  const of = (act: Act) => [...last].filter(([, one]) => one === act).map(([itemId]) => itemId);
  const [items, liked, disliked] = [of("purchase").map((item_id) => ({ item_id })), of("like"), of("dislike")];
  return {
    ...(items.length > 0 && { items }),
    ...(liked.length > 0 && { liked }),
    ...(disliked.length > 0 && { disliked }),
  };
}

export type RecommendedItem = Schemas["RecommendedItem"];
