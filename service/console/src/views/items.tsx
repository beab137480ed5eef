/** The catalogue: search and page through it, or one item with its neighbours. */
import { useEffect, useRef } from "preact/hooks";
import { Catalogue } from "./items/catalogue";
import { OneItem } from "./items/one-item";
import type { Route } from "../route";
import { focusHeading } from "../ui/focus";
import "./items.css";

export function ItemsView({ route }: { route: Route }) {
  const last = useRef(route.id);
  useEffect(() => {
    if (last.current !== route.id) focusHeading(); // the link followed is gone
    last.current = route.id;
  }, [route.id]);
  return route.id === "" ? <Catalogue params={route.params} /> : <OneItem key={route.id} itemId={route.id} />;
}
