/** The catalogue: search and page through it, or one item with its neighbours. */
import { Catalogue } from "./items/catalogue";
import { OneItem } from "./items/one-item";
import type { Route } from "../route";
import "./items.css";

export function ItemsView({ route }: { route: Route }) {
  return route.id === "" ? <Catalogue params={route.params} /> : <OneItem key={route.id} itemId={route.id} />;
}
