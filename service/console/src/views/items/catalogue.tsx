/** Searches the catalogue and shows it page by page. */
import { useEffect, useRef } from "preact/hooks";
import { type Schemas, answer, api, useLoaded } from "../../api";
import { goTo, linkTo } from "../../route";
import { Await, ErrorNotice } from "../../ui/notice";
import { Picture } from "../../ui/picture";
import { counted } from "../../ui/format";
import { StateBadge } from "./state";

const PAGE = 24;
const FIELDS = ["q", "category", "filter"] as const;

// Of the pages seen: which page leads to a page, and which categories there are.
const pageBefore = new Map<string, string>();
const categories = new Set<string>();

export function Catalogue({ params }: { params: URLSearchParams }) {
  const search = Object.fromEntries(FIELDS.map((name) => [name, params.get(name) ?? ""]));
  const { q = "", category = "", filter = "" } = search;
  const after = params.get("after") ?? "";
  const top = useRef<HTMLHeadingElement>(null);
  const page = useLoaded(
    async () => {
      const query = { q, filter, k: PAGE, ...(category && { category: [category] }), ...(after && { after }) };
      const found = await answer(api.GET("/items", { params: { query } }));
      found.items.forEach((item) => categories.add(item.category));
      if (found.next !== null) pageBefore.set(found.next, after);
      return found;
    },
    [q, category, filter, after],
  );
  const link = (place: string) => linkTo("items", "", { ...search, after: place });
  return (
    <>
      <p class="muted">
        Every item of the catalogue, with words, categories and attributes; each opens its neighbours, who had it, and a
        switch that hides it.
      </p>
      <SearchForm search={search} />
      <HiddenItems />
      <h2 ref={top} tabIndex={-1}>
        {q || category || filter ? "Items found" : "All items"}
      </h2>
      <Await loaded={page}>
        {(found) => (
          <>
            {(found.warnings ?? []).map((warning) => ( // left out where there are none
              <p class="notice warn">{warning}</p>
            ))}
            <p role="status" class="muted" aria-busy={page.loading}>
              {page.loading ? "Loading …" : pageSentence(found, after)}
            </p>
            <ul class="cards items" aria-label="Items">
              {found.items.map((item) => (
                <ItemCard key={item.item_id} item={item} />
              ))}
            </ul>
            <nav class="controls pages" aria-label="Pages of items" onClick={() => top.current?.focus()}>
              {after !== "" && <a href={link("")}>First page</a>}
              {pageBefore.get(after) && <a href={link(pageBefore.get(after) ?? "")}>Previous page</a>}
              {found.next !== null && <a href={link(found.next)}>{found.items.length > 0 ? "Next page" : "Search on"}</a>}
            </nav>
          </>
        )}
      </Await>
    </>
  );
}

function pageSentence(found: Schemas["CatalogueAnswer"], after: string): string {
  const shown = counted(found.items.length, "item");
  if (found.next !== null)
    return found.items.length > 0 ? `${shown} on this page; there are more.` : "None so far; the catalogue was read in part.";
  if (found.items.length > 0) return after === "" ? `${shown}, which is all.` : `${shown} on the last page.`;
  return after === "" ? "No item matches. Use fewer words, or another filter." : "No more items.";
}

function SearchForm({ search }: { search: Record<string, string> }) {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.reset(), [JSON.stringify(search)]); // to what the address says
  const send = (event: SubmitEvent) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget as HTMLFormElement);
    goTo("items", "", Object.fromEntries(FIELDS.map((name) => [name, String(given.get(name) ?? "").trim()])));
  };
  return (
    <form class="panel controls" role="search" onSubmit={send} ref={form}>
      <label class="wide">
        Words in title or id
        <input name="q" type="search" maxLength={256} defaultValue={search.q ?? ""} placeholder="oak chair" />
      </label>
      <label>
        Category
        <input name="category" list="categories" defaultValue={search.category ?? ""} placeholder="any" />
      </label>
      <datalist id="categories">
        {[...categories].sort().map((name) => (
          <option value={name} />
        ))}
      </datalist>
      <label class="wide">
        Filter
        <input
          name="filter"
          spellcheck={false}
          defaultValue={search.filter ?? ""}
          placeholder="attribute = value"
        />
      </label>
      <button type="submit" class="primary">
        Search
      </button>
      {FIELDS.some((name) => search[name]) && (
        <a href={linkTo("items")} onClick={() => form.current?.querySelector("input")?.focus()}>
          Clear
        </a>
      )}
    </form>
  );
}

function ItemCard({ item }: { item: Schemas["CatalogueItem"] }) {
  const price = item.attributes?.price;
  return (
    <li class="card">
      <Picture url={item.image} title={item.title} />
      <h3>
        <a href={linkTo("items", item.item_id)}>{item.title || item.item_id}</a>
      </h3>
      <p class="muted">
        {[item.category, typeof price === "number" ? price.toFixed(2) : ""].filter(Boolean).join(" · ")}
        <br />
        <code>{item.item_id}</code>
      </p>
      <p class="badges">
        <StateBadge state={item.state} />
        {!item.trained && <span class="badge">new</span>}
        {item.stored && item.trained && <span class="badge">changed</span>}
      </p>
    </li>
  );
}

function HiddenItems() {
  const loaded = useLoaded(() => answer(api.GET("/hidden", { params: { query: { k: 100 } } })), []);
  const hidden = loaded.data;
  if (loaded.problem) return <ErrorNotice problem={loaded.problem} retry={loaded.reload} />;
  if (hidden === null || hidden.total === 0) return null;
  return (
    <details class="panel">
      <summary>{counted(hidden.total, "hidden item")}</summary>
      <ul class="ids">
        {hidden.item_ids.map((id) => (
          <li>
            <a href={linkTo("items", id)}>{id}</a>
          </li>
        ))}
      </ul>
      {hidden.total > hidden.item_ids.length && <p class="muted">These are the first {hidden.item_ids.length}.</p>}
    </details>
  );
}
