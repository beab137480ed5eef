import type { Route } from "../route";

export function ModelsView(_: { route: Route }) {
  return <p>To come.</p>;
}
