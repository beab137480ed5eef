/** Titles and pictures of items that a response names without them: GET /items/{item_id}, a few at a time. */
import { useEffect, useState } from "preact/hooks";
import { answer, api, onKeyChange } from "../../api";

export interface KnownItem {
  title: string;
  image: string | null;
}

const AT_ONCE = 4;
const known = new Map<string, Promise<KnownItem>>();
const waiting: (() => void)[] = [];
let running = 0;

onKeyChange(() => known.clear()); // what was refused without the key

async function inTurn<T>(load: () => Promise<T>): Promise<T> {
  if (running >= AT_ONCE) await new Promise<void>((go) => waiting.push(go));
  running += 1;
  try {
    return await load();
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

async function load(itemId: string): Promise<KnownItem> {
  const { item } = await answer(inTurn(() => api.GET("/items/{item_id}", { params: { path: { item_id: itemId } } })));
  const { title, image } = item as { title?: unknown; image?: unknown };
  return { title: typeof title === "string" ? title : "", image: typeof image === "string" ? image : null };
}

/** Remember what a list said of an item. */
export function remember(itemId: string, item: KnownItem): void {
  if (!known.has(itemId)) known.set(itemId, Promise.resolve(item));
}

/** The item's title and picture; null until they are there, and where they cannot be read. */
export function useItem(itemId: string): KnownItem | null {
  const [item, setItem] = useState<KnownItem | null>(null);
  useEffect(() => {
    let current = true;
    if (!known.has(itemId)) known.set(itemId, load(itemId));
    known.get(itemId)?.then(
      (found) => current && setItem(found),
      () => known.delete(itemId),
    );
    return () => {
      current = false;
    };
  }, [itemId]);
  return item;
}
