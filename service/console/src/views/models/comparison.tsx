/** Two bundles side by side: metrics, how much their lists agree, and one user's two lists. */
import { useEffect, useState } from "preact/hooks";
import { type Schemas, answer, api, useLoaded } from "../../api";
import { goTo, linkTo } from "../../route";
import { Figure, Figures } from "../../ui/figure";
import { bytes, number, percent, signedPercent } from "../../ui/format";
import { Await } from "../../ui/notice";
import { TwoLists } from "./two-lists";

const K = 20;
const ROUNDING = 1e-9; // of a mean

interface Given {
  a: string;
  b: string;
  user: string;
  bundles: Schemas["BundleInfo"][];
}

export function Comparison({ a, b, user, bundles }: Given) {
  const query = { a, b, k: K, ...(user === "" ? {} : { user_id: user }) };
  const loaded = useLoaded(() => answer(api.GET("/bundles/compare", { params: { query } })), [a, b, user]);
  return (
    <section class="panel" aria-labelledby="comparison-heading">
      <p class="close">
        <a href={linkTo("models")}>Close</a>
      </p>
      <h2 id="comparison-heading">Comparison</h2>
      <Choice a={a} b={b} user={user} bundles={bundles} />
      <Await loaded={loaded}>
        {(data) => (
          <>
            <Agreement data={data} />
            {isSame(data) && (
              <p class="notice">
                <strong>Their lists are the same: nothing new was learned.</strong>
              </p>
            )}
            <Alone side="A" bundle={data.a} />
            <Alone side="B" bundle={data.b} />
            <Measures data={data} />
            {data.user ? (
              <TwoLists user={data.user} a={data.a} b={data.b} k={data.k} />
            ) : (
              <p class="muted">Name a user above to see both lists.</p>
            )}
          </>
        )}
      </Await>
    </section>
  );
}

/** What is compared, and for whom. */
function Choice({ a, b, user, bundles }: Given) {
  const [typed, setTyped] = useState(user);
  useEffect(() => setTyped(user), [user]);
  const readable = bundles.filter(({ unreadable }) => unreadable === null);
  const select = (label: string, value: string, change: (id: string) => void) => (
    <label>
      {label}
      <select value={value} onChange={(event) => change(event.currentTarget.value)}>
        {readable.map(({ bundle_id, model, role }) => (
          <option key={bundle_id} value={bundle_id}>
            {model} {bundle_id.slice(0, 15)} {role === "serves" ? "(serves)" : ""}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <form
      class="controls"
      onSubmit={(event) => {
        event.preventDefault();
        goTo("models", "", { a, b, user: typed.trim() });
      }}
    >
      {select("Bundle A", a, (id) => goTo("models", "", { a: id, b, user }))}
      {select("Bundle B", b, (id) => goTo("models", "", { a, b: id, user }))}
      <label>
        User id
        <input type="search" value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary">
        Show both lists
      </button>
      <button type="button" class="quiet" onClick={() => goTo("models", "", { a: b, b: a, user })}>
        Swap A and B
      </button>
    </form>
  );
}

/** Whether the lists of all sampled users have the same items in the same order. */
function isSame({ overlap, rank_correlation, user }: Schemas["ComparisonAnswer"]): boolean {
  const differs = user?.a.items.some(({ rank, other_rank }) => rank !== other_rank) ?? false;
  return overlap === 1 && (rank_correlation ?? 0) > 1 - ROUNDING && !differs;
}

function Agreement({ data }: { data: Schemas["ComparisonAnswer"] }) {
  const tiles: [string, string, string][] = [
    ["Overlap", percent(data.overlap), `common items in the top ${data.k} of ${number(data.sampled_users)} users`],
    ["Same order", number(data.rank_correlation), "rank correlation of the common items; 1: the same, −1: reversed"],
    ["Users in both", number(data.shared_users), `${number(data.a.only_users)} only in A, ${number(data.b.only_users)} only in B`],
    ["Items in both", number(data.shared_items), `${number(data.a.only_items)} only in A, ${number(data.b.only_items)} only in B`],
  ];
  return (
    <Figures>
      {tiles.map(([name, value, meaning]) => (
        <Figure key={name} name={name} note={meaning}>
          {value}
        </Figure>
      ))}
    </Figures>
  );
}

/** Some of the items that one bundle alone has. */
function Alone({ side, bundle }: { side: string; bundle: Schemas["ComparedBundle"] }) {
  if (bundle.only_items === 0) return null;
  const titles = bundle.only_items_examples.map((item) => item.title || item.item_id);
  const more = bundle.only_items - titles.length;
  return (
    <p class="muted">
      Only in {side}: {titles.join(", ")}
      {more > 0 && ` and ${number(more)} more`}.
    </p>
  );
}

interface Row {
  name: string;
  a: number | undefined;
  b: number | undefined;
  write: (value: number | undefined) => string;
  judged: boolean; // more is better
}

const ACCURACY = /(^|\/)(recall|ndcg|hit|mrr|map|precision)@/; // more of these is better
const FIRST = ["recall@20", "ndcg@20", "hit@20", "mrr@20"]; // shown without being asked for
const SPLITS = ["test", "valid"];

/** Metrics and sizes of both, with bars and the difference. */
function Measures({ data: { a, b } }: { data: Schemas["ComparisonAnswer"] }) {
  const metrics = Object.keys(a.metrics).flatMap((split) =>
    Object.keys(a.metrics[split] ?? {})
      .filter((name) => b.metrics[split]?.[name] !== undefined)
      .map((name) => ({ split, name, a: a.metrics[split]?.[name], b: b.metrics[split]?.[name] })),
  );
  const figure = ({ split, name, ...both }: (typeof metrics)[number]): Row => ({
    ...both,
    name: `${name}, ${split}`,
    write: number,
    judged: ACCURACY.test(name),
  });
  const firsts = SPLITS.flatMap((split) =>
    FIRST.flatMap((name) => metrics.filter((one) => one.split === split && one.name === name)),
  );
  const others = metrics.filter((one) => !firsts.includes(one));
  const sizes: Row[] = [
    { name: "Coverage of the catalogue", a: a.coverage, b: b.coverage, write: percent, judged: false },
    { name: "Different items shown", a: a.shown_items, b: b.shown_items, write: number, judged: false },
    { name: "Users", a: a.n_users, b: b.n_users, write: number, judged: false },
    { name: "Items", a: a.n_items, b: b.n_items, write: number, judged: false },
    { name: "Interactions", a: a.n_interactions, b: b.n_interactions, write: number, judged: false },
    { name: "Size", a: a.bytes, b: b.bytes, write: bytes, judged: false },
  ];
  return (
    <>
      <FigureTable a={a} b={b} label="Metrics and sizes of both" figures={[...firsts.map(figure), ...sizes]} />
      {others.length > 0 && (
        <details>
          <summary>{number(others.length)} more metrics</summary>
          <FigureTable a={a} b={b} label="More metrics of both" figures={others.map(figure)} />
        </details>
      )}
    </>
  );
}

interface TableGiven {
  a: Schemas["ComparedBundle"];
  b: Schemas["ComparedBundle"];
  label: string;
  figures: Row[];
}

function FigureTable({ a, b, label, figures }: TableGiven) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table class="models-figures">
        <thead>
          <tr>
            <th scope="col">Figure</th>
            <th scope="col">
              A: {a.model} {a.serves && "(serves)"}
            </th>
            <th scope="col">
              B: {b.model} {b.serves && "(serves)"}
            </th>
            <th scope="col" class="number">
              B against A
            </th>
          </tr>
        </thead>
        <tbody>
          {figures.map((one) => (
            <FigureRow key={one.name} {...one} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function FigureRow({ name, a, b, write, judged }: Row) {
  const most = Math.max(a ?? 0, b ?? 0);
  const change = a === undefined || b === undefined || a === 0 ? null : b / a - 1;
  const verdict = !judged || change === null || change === 0 ? "" : change > 0 ? "good" : "bad";
  const bar = (value: number | undefined, side: string) => (
    <td>
      {write(value)}
      <span class={`models-bar ${side}`} aria-hidden="true" style={{ width: `${most > 0 ? (100 * (value ?? 0)) / most : 0}%` }} />
    </td>
  );
  return (
    <tr>
      <th scope="row">{name}</th>
      {bar(a, "a")}
      {bar(b, "b")}
      <td class={`number ${verdict}`}>{signedPercent(change)}</td>
    </tr>
  );
}
