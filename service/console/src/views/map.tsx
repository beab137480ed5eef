import type { Route } from "../route";

export function MapView(_: { route: Route }) {
  return <p>To come.</p>;
}
