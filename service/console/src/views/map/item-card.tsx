/** The item under the pointer, or the one chosen by keyboard. */
import { useEffect, useRef } from "preact/hooks";
import { answer, api, useLoaded } from "../../api";
import { linkTo } from "../../route";
import { Picture } from "../../ui/picture";

const PAUSE_MS = 80; // before an item is requested: a pointer that moves on requests nothing

export function ItemCard({ id, group, right }: { id: string; group: string; right: boolean }) {
  const latest = useRef(id);
  latest.current = id;
  useEffect(() => () => void (latest.current = ""), []);
  const { data, problem } = useLoaded(async () => {
    await new Promise((resume) => setTimeout(resume, PAUSE_MS));
    if (latest.current !== id) return null;
    return answer(api.GET("/items/{item_id}", { params: { path: { item_id: id } } }));
  }, [id]);
  const item = data?.item.item_id === id ? data.item : null;
  const title = textOf(item?.title) || id;
  return (
    <div class={right ? "map-card right" : "map-card"} role="status">
      <Picture url={textOf(item?.image) || null} title={title} />
      <a href={linkTo("items", id)} tabIndex={-1}>
        {title}
      </a>
      <span class="muted">{problem ? problem.detail : group}</span>
    </div>
  );
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
