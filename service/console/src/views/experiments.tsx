import type { Route } from "../route";

export function ExperimentsView(_: { route: Route }) {
  return <p>To come.</p>;
}
