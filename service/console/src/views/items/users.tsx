/** Who had an item: how many, and their ids to those who may read them. */
import { useState } from "preact/hooks";
import { answer, api, useLoaded } from "../../api";
import { linkTo } from "../../route";
import { Await } from "../../ui/notice";
import { counted, number } from "../../ui/format";

const PAGE = 20;

export function WhoHadIt({ itemId, count }: { itemId: string; count: number }) {
  const [offset, setOffset] = useState(0);
  const [isFirst, isLast] = [offset === 0, offset + PAGE >= count]; // not `disabled`: the keyboard keeps its place
  const loaded = useLoaded(
    () => answer(api.GET("/items/{item_id}/users", { params: { path: { item_id: itemId }, query: { k: PAGE, offset } } })),
    [itemId, offset],
  );
  return (
    <section class="panel" aria-labelledby="who-had-it">
      <h2 id="who-had-it">Who had it</h2>
      <p>
        <strong>{counted(count, "user")}</strong> <span class="muted">in the data of training</span>
      </p>
      {count > 0 && (
        <Await loaded={loaded}>
          {({ user_ids }) => (
            <>
              <ul class="ids">
                {user_ids.map((id) => (
                  <li key={id}>
                    <a href={linkTo("try", "", { user: id })}>{id}</a>
                  </li>
                ))}
              </ul>
              {count > PAGE && (
                <p class="controls">
                  <button type="button" aria-disabled={isFirst} onClick={() => isFirst || setOffset(offset - PAGE)}>
                    Previous
                  </button>
                  <span class="muted" role="status">
                    {number(offset + 1)} to {number(Math.min(offset + PAGE, count))} of {number(count)}
                  </span>
                  <button type="button" aria-disabled={isLast} onClick={() => isLast || setOffset(offset + PAGE)}>
                    Next
                  </button>
                </p>
              )}
            </>
          )}
        </Await>
      )}
    </section>
  );
}
