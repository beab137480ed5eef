import type { Route } from "../route";

export function HealthView(_: { route: Route }) {
  return <p>To come.</p>;
}
