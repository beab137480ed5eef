/** A user's list and past items in words, beside the map that shows them. */
import { linkTo } from "../../route";
import type { Person, Placed } from "./person";

export function PersonList({ user, person }: { user: string; person: Person }) {
  return (
    <>
      {person.source === "popular" && <p class="muted">User {user} is unknown here: the list is that of popular items.</p>}
      <h2>List of {user}</h2>
      {person.list.length === 0 && <p class="muted">The list is empty.</p>}
      <ol class="map-list">
        {person.list.map((item) => (
          <Row key={item.id} item={item} />
        ))}
      </ol>
      <h2>Past items that explain it</h2>
      {person.past.length === 0 ? (
        <p class="muted">None: no past item adds to these scores.</p>
      ) : (
        <>
          <p class="muted">
            Those that the explanations of the list name, the weightiest first: not all that {user} ever had.
          </p>
          <ul class="map-list">
            {person.past.map((item) => (
              <Row key={item.id} item={item} />
            ))}
          </ul>
        </>
      )}
    </>
  );
}

function Row({ item }: { item: Placed }) {
  return (
    <li>
      <a href={linkTo("items", item.id)}>{item.title}</a>
      {item.place === null && <span class="muted"> not on the map: hidden, or newer than the bundle</span>}
    </li>
  );
}
