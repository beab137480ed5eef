/** The view and its parameters, in the address after `#`: a link to a view shows the same again. */
import { useEffect, useState } from "preact/hooks";

export interface Route {
  view: string; // "try", "items", ...
  id: string; // of the item or bundle that the view shows; "" where it shows none
  params: URLSearchParams;
}

/** The address of a view: `#/items/B0012?page=2`. Parameters that are "" are left out. */
export function linkTo(view: string, id = "", params: Record<string, string> = {}): string {
  const chosen = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== ""));
  const query = chosen.size > 0 ? `?${chosen}` : "";
  return `#/${view}${id === "" ? "" : `/${encodeURIComponent(id)}`}${query}`;
}

/** Show a view. */
export function goTo(view: string, id = "", params: Record<string, string> = {}): void {
  location.hash = linkTo(view, id, params);
}

function currentRoute(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view = "", ...id] = path.split("/"); // one written by hand may hold a slash or a percent sign as it is
  return { view, id: decoded(id.join("/")), params: new URLSearchParams(query) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function useRoute(): Route {
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => {
    const follow = () => setRoute(currentRoute());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}
