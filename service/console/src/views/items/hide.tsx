/** Hides an item from every list, or shows it again, once that is confirmed. */
import { useState } from "preact/hooks";
import { answer, api } from "../../api";
import { Confirm } from "../../ui/confirm";

export function HideItem({ itemId, hidden, changed }: { itemId: string; hidden: boolean; changed: () => void }) {
  const [asks, setAsks] = useState(false);
  const [told, setTold] = useState("");
  const path = { params: { path: { item_id: itemId } } };
  const run = () => answer(hidden ? api.DELETE("/items/{item_id}/hidden", path) : api.PUT("/items/{item_id}/hidden", path));
  const done = (result: { hidden: boolean }) => {
    setAsks(false);
    setTold(result.hidden ? "Hidden: no list shows it from now on." : "Shown: lists may have it again.");
    changed();
  };
  return (
    <>
      <p>
        <button type="button" class={hidden ? "" : "danger"} onClick={() => setAsks(true)}>
          {hidden ? "Show in lists again …" : "Hide from every list …"}
        </button>
      </p>
      <p role="status" class="muted">
        {told}
      </p>
      {asks && (
        <Confirm
          title={hidden ? "Show this item in lists again?" : "Hide this item from every list?"}
          action={hidden ? "Show it" : "Hide it"}
          danger={!hidden}
          run={run}
          done={done}
          close={() => setAsks(false)}
        >
          <p>It holds for the bundle that serves and for later ones, until it is taken back here.</p>
        </Confirm>
      )}
    </>
  );
}
