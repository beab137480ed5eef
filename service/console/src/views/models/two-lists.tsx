/** The same user's lists by two bundles, with the moves between them. */
import type { Schemas } from "../../api";
import { number, percent } from "../../ui/format";
import { Picture } from "../../ui/picture";

type Item = Schemas["ComparedItem"];

interface Given {
  user: Schemas["ComparedUser"];
  a: Schemas["ComparedBundle"];
  b: Schemas["ComparedBundle"];
  k: number;
}

const SOURCES: Record<string, string> = {
  user: "from training",
  fold_in: "from training and events since",
  popular: "nothing is known of the user: popular items",
};

export function TwoLists({ user, a, b, k }: Given) {
  return (
    <>
      <h3 class="models-user">
        The two lists of <code>{user.user_id}</code>: {percent(user.overlap)} in common
      </h3>
      {user.past.length > 0 && (
        <>
          <p class="muted">Had last:</p>
          <ul class="models-past">
            {user.past.map((item) => (
              <li key={item.item_id}>
                <Picture url={item.image} title={item.title || item.item_id} />
                <span>{item.title || item.item_id}</span>
              </li>
            ))}
          </ul>
        </>
      )}
      <div class="models-lists">
        <List side="A" other="B" bundle={a} list={user.a} k={k} />
        <List side="B" other="A" bundle={b} list={user.b} k={k} />
      </div>
      <p class="muted">Without hidden items; rules and changes of items since training are left out.</p>
    </>
  );
}

interface ListGiven {
  side: string;
  other: string;
  bundle: Schemas["ComparedBundle"];
  list: Schemas["ComparedList"];
  k: number;
}

function List({ side, other, bundle, list, k }: ListGiven) {
  return (
    <section aria-label={`List of bundle ${side}`}>
      <h4>
        {side}: {bundle.model} <span class="muted">{SOURCES[list.source] ?? list.source}</span>
      </h4>
      <ol>
        {list.items.map((item) => {
          const [kind, words] = move(item, other, k);
          return (
            <li key={item.item_id} class={`models-item ${kind}`}>
              <span class="models-rank">{item.rank}</span>
              <Picture url={item.image} title={item.title || item.item_id} />
              <span class="models-title">
                {item.title || item.item_id}
                <span class="muted">
                  {item.category} · score {number(item.score)}
                </span>
              </span>
              <span class={`models-move ${kind}`}>{words}</span>
            </li>
          );
        })}
      </ol>
    </section>
  );
}

/** How the place differs from that in the other list: its kind, and words. */
function move({ rank, other_rank, other_has }: Item, other: string, k: number): [kind: string, words: string] {
  if (!other_has) return ["absent", `${other} does not have it`];
  if (other_rank === null) return ["alone", `not in ${other}'s 200`];
  if (other_rank > k) return ["alone", `${other}: place ${other_rank}`];
  const by = other_rank - rank;
  if (by === 0) return ["same", "same place"];
  return by > 0 ? ["higher", `▲ ${by} higher than ${other}`] : ["lower", `▼ ${-by} lower than ${other}`];
}
