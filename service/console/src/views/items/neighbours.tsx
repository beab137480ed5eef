/** The nearest items in each space of the bundle, side by side. */
import { type Schemas, answer, api, useLoaded } from "../../api";
import { linkTo } from "../../route";
import { Await } from "../../ui/notice";
import { Picture } from "../../ui/picture";
import { counted } from "../../ui/format";
import { Swatch, wordsOf } from "../../ui/parts";

type Space = "fused" | "id" | "text" | "image" | "multimodal";
type Near = Schemas["SimilarAnswer"];

const NEAREST = 6;
const ORDER = ["fused", "id", "text", "image", "multimodal"];

export function Neighbours({ itemId, title }: { itemId: string; title: string }) {
  const ready = useLoaded(() => answer(api.GET("/readyz")), []);
  return (
    <section>
      <h2>Its neighbours in each space</h2>
      <p class="muted">
        The nearest items by the cosine of each space. Compare the columns: what buyers have in common, what reads alike
        and what looks alike differ. Beside the colours are an item's cosines in the other columns.
      </p>
      <Await loaded={ready}>{({ spaces }) => <Columns itemId={itemId} title={title} spaces={sorted(spaces)} />}</Await>
    </section>
  );
}

function sorted(spaces: string[]): Space[] {
  return [...spaces].sort((one, other) => place(one) - place(other)) as Space[];
}

function place(space: string): number {
  return (ORDER.indexOf(space) + ORDER.length + 1) % (ORDER.length + 1); // unknown ones last
}

function Columns({ itemId, title, spaces }: { itemId: string; title: string; spaces: Space[] }) {
  const loaded = useLoaded(() => Promise.all(spaces.map((space) => nearest(itemId, space))), [itemId, ...spaces]);
  return (
    <Await loaded={loaded}>
      {(lists) => (
        <div class="spaces">
          {lists.map((list, i) => (
            <Column key={list.by} list={list} others={lists.filter((_, other) => other !== i)} title={title} />
          ))}
        </div>
      )}
    </Await>
  );
}

function nearest(itemId: string, by: Space): Promise<Near> {
  const params = { path: { item_id: itemId }, query: { by, explain: true, k: NEAREST } };
  return answer(api.GET("/similar/{item_id}", { params }));
}

function Column({ list, others, title }: { list: Near; others: Near[]; title: string }) {
  return (
    <section class="panel space" aria-label={`Nearest by ${list.by}`}>
      <h3>
        <Swatch part={list.by} /> {wordsOf(list.by)} <code>{list.by}</code>
      </h3>
      {list.items.length === 0 && <p>{list.reason ?? `Nothing is near ${title} here.`}</p>}
      <ol>
        {list.items.map((item) => (
          <Neighbour key={item.item_id} item={item} by={list.by} also={listing(others, item.item_id)} />
        ))}
      </ol>
    </section>
  );
}

/** The spaces of the lists that have the item too. */
function listing(lists: Near[], itemId: string): string[] {
  return lists.filter(({ items }) => items.some((one) => one.item_id === itemId)).map(({ by }) => by);
}

function Neighbour({ item, by, also }: { item: Near["items"][number]; by: string; also: string[] }) {
  const all = Object.entries(item.explanation?.cosines ?? {});
  const cosines = all.filter(([space]) => space !== by).sort(([one], [other]) => place(one) - place(other));
  const inCommon = item.explanation?.users_in_common ?? 0;
  return (
    <li>
      <div class="thumbnail">
        <Picture url={item.image} title={item.title} />
      </div>
      <div>
        <a href={linkTo("items", item.item_id)}>{item.title || item.item_id}</a>
        <p>
          <strong class="cosine">{item.score.toFixed(3)}</strong>
          {inCommon > 0 && <span class="muted"> · {counted(inCommon, "user")} in common</span>}
        </p>
        <p class="muted elsewhere">
          {cosines.map(([space, cosine]) => (
            <span key={space} title={`cosine by ${space}`}>
              <Swatch part={space} />
              <span class="hidden-text">by {space}</span> {cosine.toFixed(2)}
            </span>
          ))}
        </p>
        {also.length > 0 && <p class="muted also">also near by {also.join(", ")}</p>}
      </div>
    </li>
  );
}
