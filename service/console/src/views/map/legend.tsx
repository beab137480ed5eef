/** The groups of a map: their colours in words and numbers, each with a switch. */
import type { Schemas } from "../../api";
import { number } from "../../ui/format";
import { COLOURS, OTHER } from "./points";

export interface Group {
  colour: number;
  name: string;
  items: number;
}

/** The groups that have a colour, and what is in none of them. */
export function groupsOf(map: Schemas["ItemMap"]): Group[] {
  const own = map.groups.slice(0, COLOURS).map(({ name, items }, colour) => ({ colour, name: name || "no name", items }));
  const rest = map.total - own.reduce((sum, { items }) => sum + items, 0);
  const others = map.groups.length > COLOURS ? "all others" : `no ${map.by}`;
  return rest > 0 ? [...own, { colour: OTHER, name: others, items: rest }] : own;
}

export function Legend(props: { groups: Group[]; by: string; off: ReadonlySet<number>; setOff: (off: Set<number>) => void }) {
  const { groups, off, setOff } = props;
  const flip = (colour: number) => {
    const next = new Set(off);
    if (!next.delete(colour)) next.add(colour);
    setOff(next);
  };
  return (
    <fieldset class="map-legend">
      <legend>{props.by === "category" ? "Categories" : "Clusters"}</legend>
      <p class="map-switches">
        <button type="button" class="quiet" onClick={() => setOff(new Set())}>
          Show all
        </button>
        <button type="button" class="quiet" onClick={() => setOff(new Set(groups.map(({ colour }) => colour)))}>
          Hide all
        </button>
      </p>
      {groups.at(-1)?.colour === OTHER && groups.length > COLOURS && (
        <p class="muted map-rest">
          The {COLOURS} largest have a colour each, all others share a grey; the card of an item names its own.
        </p>
      )}
      {groups.map(({ colour, name, items }) => (
        <label key={colour}>
          <input type="checkbox" checked={!off.has(colour)} onChange={() => flip(colour)} />
          <span class={`map-swatch map-colour-${colour}`} aria-hidden="true" />
          <span class="map-name">{name}</span>
          <span class="muted">{number(items)}</span>
        </label>
      ))}
    </fieldset>
  );
}
