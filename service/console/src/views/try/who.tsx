/** Chooses for whom the list is: a user, found by the beginning of the id, or a visitor of whom nothing is known. */
import { answer, api, useLoaded } from "../../api";
import { counted } from "../../ui/format";
import { UserField } from "../../ui/user-field";
import { type Wish, show } from "./wish";
import "./who.css";

const SUGGESTED = 4;

export function Who({ wish, turn }: { wish: Wish; turn: number }) {
  const first = useLoaded(
    () => answer(api.GET("/users", { params: { query: { k: 50 } } })),
    [],
  );
  const choose = (user: string) => show({ ...wish, user, clicks: [] });
  const suggested = (first.data?.users ?? []).filter((user) => user.items > 1).slice(0, SUGGESTED);
  return (
    <section class="panel who" aria-label="For whom">
      <div class="who-choice">
        <UserField user={wish.user} choose={(user) => user !== wish.user && choose(user)} />
        <span class="muted">or</span>
        <button type="button" aria-pressed={wish.user === ""} onClick={() => choose("")}>
          An unknown visitor
        </button>
      </div>
      {suggested.length > 0 && (
        <p class="muted suggested">
          For example{" "}
          {suggested.map(({ user_id, items }) => (
            <button key={user_id} type="button" class="chip" aria-pressed={user_id === wish.user} onClick={() => choose(user_id)}>
              {user_id} <span class="muted">{counted(items, "item")}</span>
            </button>
          ))}
        </p>
      )}
      {wish.user === "" ? (
        <p class="standing" data-kept="page">
          <strong>Nothing is known of this visitor.</strong> Clicks stay <strong>only in this page</strong>; each list is
          made from them (<code>POST /recommend</code>).
        </p>
      ) : (
        <p class="standing" data-kept="stored">
          <Known user={wish.user} turn={turn} /> Clicks are <strong>stored as events</strong> of this user (
          <code>POST /events</code>) and count in <code>GET /quality</code>.
        </p>
      )}
    </section>
  );
}

/** How much is known of the user; nothing where that cannot be read. */
function Known({ user, turn }: { user: string; turn: number }) {
  const { data } = useLoaded(
    () => answer(api.GET("/users/{user_id}", { params: { path: { user_id: user } } })),
    [user, turn],
  );
  if (data === null || data.user_id !== user) return <strong>{user}. </strong>;
  const events = data.events > 0 ? `, ${counted(data.events, "event")}` : "";
  return (
    <>
      <strong>{user}</strong>: {data.seen > 0 ? `${counted(data.seen, "past item")}${events}` : "nothing is known yet"}.{" "}
    </>
  );
}
