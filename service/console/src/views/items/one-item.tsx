/** One item: what it is, whether lists show it, what its embedding is made of, who had it, and what is near it. */
import { type Schemas, answer, api, useLoaded } from "../../api";
import { linkTo } from "../../route";
import { Await } from "../../ui/notice";
import { Picture } from "../../ui/picture";
import { counted, number } from "../../ui/format";
import { Time } from "../../ui/time";
import { HideItem } from "./hide";
import { Neighbours } from "./neighbours";
import { Parts } from "./parts";
import { StateBadge, StateSentence } from "./state";
import { WhoHadIt } from "./users";

type Item = Schemas["ItemAnswer"];

export function OneItem({ itemId }: { itemId: string }) {
  const loaded = useLoaded(() => answer(api.GET("/items/{item_id}", { params: { path: { item_id: itemId } } })), [itemId]);
  return (
    <>
      <p class="back">
        <a href={linkTo("items")}>All items</a>
      </p>
      <Await loaded={loaded}>{(item) => <Known item={item} itemId={itemId} reload={loaded.reload} />}</Await>
    </>
  );
}

function Known({ item, itemId, reload }: { item: Item; itemId: string; reload: () => void }) {
  const { title, category, image } = item.item as { title: string; category: string; image: string | null };
  const ranked = item.state !== "waiting"; // else no list could show it anyway, and nothing is near it
  return (
    <>
      <article class="panel one-item">
        <div class="large">
          <Picture url={image} title={title} />
        </div>
        <div class="about">
          <h2>{title || itemId}</h2>
          <p class="badges">
            <StateBadge state={item.state} />
            {!item.trained && <span class="badge">new</span>}
            {category && <span class="badge">{category}</span>}
          </p>
          <StateSentence state={item.state} reason={item.reason} />
          {ranked && <HideItem itemId={itemId} hidden={item.hidden} changed={reload} />}
          <Facts item={item} itemId={itemId} />
        </div>
        <Parts norms={item.part_norms} />
      </article>
      {ranked && <Neighbours itemId={itemId} title={title} />}
      <WhoHadIt itemId={itemId} count={item.users} />
      {item.stored && <Stored stored={item.stored} />}
    </>
  );
}

function Facts({ item, itemId }: { item: Item; itemId: string }) {
  const attributes = Object.entries((item.item.attributes ?? {}) as Record<string, unknown>);
  return (
    <dl class="facts">
      <div>
        <dt>id</dt>
        <dd>
          <code>{itemId}</code>
        </dd>
      </div>
      {attributes.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{asText(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

function asText(value: unknown): string {
  if (Array.isArray(value)) return value.map(asText).join(", ");
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value); // a price is shown as it is
}

function Stored({ stored }: { stored: NonNullable<Item["stored"]> }) {
  const features = Object.entries(stored.features);
  return (
    <section class="panel">
      <h2>Stored fields</h2>
      <p class="muted">What was put or patched while the service runs; it counts before what training saw.</p>
      <dl class="pairs">
        <dt>available</dt>
        <dd>{stored.available ? "yes" : "no"}</dd>
        <dt>categories</dt>
        <dd>{stored.categories.join(", ") || "none"}</dd>
        <dt>text</dt>
        <dd>{stored.text || "none"}</dd>
        <dt>features</dt>
        <dd>{features.map(([name, width]) => `${name}: ${counted(width, "number")}`).join(", ") || "none"}</dd>
        <dt>created</dt>
        <dd>
          <Time at={stored.created_at} />
        </dd>
        <dt>changed</dt>
        <dd>
          <Time at={stored.updated_at} />
        </dd>
        <dt>position</dt>
        <dd>{number(stored.position)} in the order of all changes</dd>
      </dl>
    </section>
  );
}
