import type { Route } from "../route";

export function ItemsView(_: { route: Route }) {
  return <p>To come.</p>;
}
