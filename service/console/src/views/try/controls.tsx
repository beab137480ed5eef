/** The options of the list, each as a field, and scenarios that set several of them. */
import { useId } from "preact/hooks";
import { type Problem, type Schemas, answer, api, useLoaded } from "../../api";
import { type AttributeTypes, FilterField } from "./filter-field";
import { AS_SERVED, type Options, SPACES, type Space, type Wish, show } from "./wish";
import "./controls.css";

const SPACE_WORDS: Record<Space, string> = {
  fused: "everything together",
  id: "who had them",
  text: "words",
  image: "looks",
  multimodal: "words and looks as one",
};
const SHARES = [0, 0.1, 0.2, 0.3, 0.5]; // of explored places
const SAMPLE = 200; // popular items that categories and prices are read from
const FEW = 5; // popular items, read whole, for an example of a filter
const SHORT = 24; // characters of a value in it
const WIDE = "(min-width: 60rem)";
const EXPLORATION_HINT =
  "The share of places that go to items that few have seen. As the service is set: what RECO_EXPLORATION says.";
const SEED_HINT = "Draws the explored items: the same number gives the same list again.";
const NOTHING_READ: Catalogue = { filter: "attribute = value", types: {}, categories: [], spaces: ["fused"], scenarios: [] };

interface Scenario {
  name: string;
  about: string;
  options: Partial<Options>;
}

interface Catalogue {
  filter: string; // an example, of attributes and values that its items have
  types: AttributeTypes; // that the bundle or stored items declare
  categories: string[];
  spaces: readonly Space[];
  scenarios: Scenario[];
}

const ALWAYS: Scenario[] = [
  { name: "As served", about: "by score alone, as the service is set", options: {} },
  { name: "More diverse", about: "less of the same", options: { diversity: 0.5 } },
  { name: "One of each kind", about: "one item of a category", options: { cap: 1 } },
  { name: "Explore", about: "a third of the places for items that few have seen", options: { exploration: 0.34, seed: 1 } },
];

/** What the catalogue offers to choose from. What cannot be read is left out. */
async function readCatalogue(): Promise<Catalogue> {
  const or = <T,>(request: Promise<T>) => request.catch(() => null);
  const [ready, schema, few] = await Promise.all([
    or(answer(api.GET("/readyz"))),
    or(answer(api.GET("/items/schema"))),
    or(answer(api.GET("/popular", { params: { query: { k: FEW, fields: ["attributes"] } } }))),
  ]);
  const types = schema?.attributes ?? {};
  const fields = ["category", ...(types["price"] === "number" ? ["price"] : [])];
  const popular = await or(answer(api.GET("/popular", { params: { query: { k: SAMPLE, fields: [fields.join(",")] } } })));
  const items = popular?.items ?? [];
  const prices = items.flatMap(({ attributes }) => (typeof attributes?.["price"] === "number" ? [attributes["price"]] : []));
  const third = prices.sort((a, b) => a - b)[Math.floor(prices.length / 3)];
  const found: Scenario[] = [];
  if (types["stock"] === "number") found.push(onlyIf("In stock", "stock > 0"));
  const flag = ["available", "in_stock"].find((name) => types[name] === "boolean");
  if (flag !== undefined) found.push(onlyIf("In stock", `${flag} = true`));
  if (types["on_sale"] === "boolean") found.push(onlyIf("On sale", "on_sale = true"));
  if (third !== undefined) found.push(onlyIf("Cheaper third", `price <= ${third}`));
  return {
    filter: exampleOf(few?.items ?? [], third) || NOTHING_READ.filter,
    types,
    categories: [...new Set(items.map(({ category }) => category ?? ""))].filter((one) => one !== "").sort(),
    spaces: ready === null ? ["fused"] : SPACES.filter((space) => ready.spaces.includes(space)),
    scenarios: [...ALWAYS, ...found],
  };
}

/** A filter that some of the items pass. */
function exampleOf(items: Schemas["Item"][], price: number | undefined): string {
  const pairs = items.flatMap(({ attributes }) => Object.entries(attributes ?? {}));
  const plain = pairs.find(([, value]) => typeof value === "string" && value.length <= SHORT && /^[^'"\\]+$/.test(value));
  return [...(price === undefined ? [] : [`price <= ${price}`]), ...(plain ? [`${plain[0]} = '${plain[1]}'`] : [])].join(" and ");
}

const onlyIf = (name: string, filter: string): Scenario => ({ name, about: filter, options: { filter } });

function isIn(wish: Wish, scenario: Scenario): boolean {
  const wanted: Options = { ...AS_SERVED, ...scenario.options, k: wish.k };
  return (Object.keys(wanted) as (keyof Options)[]).every((name) => wish[name] === wanted[name]);
}

export function Controls({ wish, filterProblem }: { wish: Wish; filterProblem: Problem | null }) {
  const catalogue = useLoaded(readCatalogue, []).data ?? { ...NOTHING_READ, scenarios: ALWAYS };
  const set = (options: Partial<Options>) => show({ ...wish, ...options }, false);
  const categories = [...new Set([...catalogue.categories, wish.category])].filter((one) => one !== "");
  const spaces = [...new Set<Space>([...catalogue.spaces, wish.space])];
  return (
    <details class="panel try-controls" open={matchMedia(WIDE).matches}>
      <summary>Options of the list</summary>
      <div class="scenarios" role="group" aria-label="Scenario">
        {catalogue.scenarios.map((scenario) => (
          <button
            key={scenario.name}
            type="button"
            class="chip"
            title={scenario.about}
            aria-pressed={isIn(wish, scenario)}
            onClick={() => show({ ...wish, ...AS_SERVED, ...scenario.options, k: wish.k }, true)}
          >
            {scenario.name}
          </button>
        ))}
      </div>
      <FilterField
        filter={wish.filter}
        example={catalogue.filter}
        types={catalogue.types}
        problem={filterProblem}
        set={(filter) => set({ filter })}
      />
      <label>
        Category
        <select value={wish.category} onChange={(event) => set({ category: event.currentTarget.value })}>
          <option value="">all</option>
          {categories.map((category) => (
            <option key={category} value={category}>
              {category}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span>
          Diversity <output>{wish.diversity}</output>
        </span>
        <input
          type="range"
          aria-label="Diversity" // the label is that of the output, which comes first in it
          min="0"
          max="1"
          step="0.05"
          value={wish.diversity}
          onInput={(event) => set({ diversity: Number(event.currentTarget.value) })}
        />
      </label>
      {wish.diversity > 0 && (
        <label>
          Alike in
          <select value={wish.space} onChange={(event) => set({ space: event.currentTarget.value as Space })}>
            {spaces.map((space) => (
              <option key={space} value={space}>
                {SPACE_WORDS[space]}
              </option>
            ))}
          </select>
        </label>
      )}
      <label>
        Exploration
        <select
          title={EXPLORATION_HINT}
          aria-label="Exploration"
          aria-describedby="exploration-hint"
          value={wish.exploration === null ? "" : String(wish.exploration)}
          onChange={(event) => set({ exploration: event.currentTarget.value === "" ? null : Number(event.currentTarget.value) })}
        >
          <option value="">as the service is set</option>
          {[...new Set([...SHARES, ...(wish.exploration === null ? [] : [wish.exploration])])].map((share) => (
            <option key={share} value={String(share)}>
              {`${Math.round(share * 100)} % of the places`}
            </option>
          ))}
        </select>
        <span id="exploration-hint" class="hidden-text">
          {EXPLORATION_HINT}
        </span>
      </label>
      <div class="pair">
        <NumberField label="Items" value={wish.k} least={1} set={(k) => set({ k: k ?? AS_SERVED.k })} />
        <NumberField label="At most of one category" value={wish.cap} least={1} set={(cap) => set({ cap })} />
        <NumberField label="Seed" hint={SEED_HINT} value={wish.seed} least={0} set={(seed) => set({ seed })} />
      </div>
      <label class="check">
        <input type="checkbox" checked={!wish.withSeen} onChange={(event) => set({ withSeen: !event.currentTarget.checked })} />
        Leave out seen items
      </label>
    </details>
  );
}

interface NumberGiven {
  label: string;
  hint?: string;
  value: number | null;
  least: number;
  set: (value: number | null) => void;
}

function NumberField(field: NumberGiven) {
  const hint = useId();
  return (
    <label>
      {field.label}
      <input
        type="number"
        min={field.least}
        title={field.hint}
        aria-label={field.label} // without the hint
        aria-describedby={field.hint && hint}
        value={field.value ?? ""}
        onChange={(event) => field.set(event.currentTarget.value === "" ? null : Number(event.currentTarget.value))}
      />
      {field.hint && (
        <span id={hint} class="hidden-text">
          {field.hint}
        </span>
      )}
    </label>
  );
}
