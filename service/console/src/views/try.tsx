import type { Route } from "../route";

export function TryView(_: { route: Route }) {
  return <p>To come.</p>;
}
