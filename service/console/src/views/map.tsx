/** The catalogue in two dimensions, with a user's past items and list on it. */
import { useMemo, useState } from "preact/hooks";
import "./map.css";
import { type Schemas, answer, api, useLoaded } from "../api";
import { type Route, goTo } from "../route";
import { counted, number } from "../ui/format";
import { Await, ErrorNotice } from "../ui/notice";
import { UserField } from "../ui/user-field";
import { Legend, groupsOf } from "./map/legend";
import { loadPerson } from "./map/person";
import { PersonList } from "./map/person-list";
import { COLOURS, pointsOf } from "./map/points";
import { Stage } from "./map/stage";

const MOST = 20_000; // items at once
type By = Schemas["ItemMap"]["by"];

let lastHidden: { by: By; off: Set<number> } | null = null; // for the way back from an item

export function MapView({ route }: { route: Route }) {
  const asked = route.params.get("by");
  const by: By | undefined = asked === "category" || asked === "cluster" ? asked : undefined;
  const query = { k: MOST, ...(by !== undefined && { by }) };
  const loaded = useLoaded(() => answer(api.GET("/map", { params: { query } })), [by]);
  if (loaded.problem?.code === "no_map") return <NoMap detail={loaded.problem.detail} />;
  return <Await loaded={loaded}>{({ map }) => <CatalogueMap map={map} user={route.params.get("user") ?? ""} />}</Await>;
}

function NoMap({ detail }: { detail: string }) {
  return (
    <div class="notice">
      <p>
        <strong>There is no map of this catalogue.</strong>
      </p>
      <p>{detail}.</p>
      <p class="muted">
        <code>python -m trainer export RUN --registry BUNDLES</code> makes one; publish the bundle that it writes.
      </p>
    </div>
  );
}

function CatalogueMap({ map, user }: { map: Schemas["ItemMap"]; user: string }) {
  const points = useMemo(() => pointsOf(map), [map]);
  const groups = useMemo(() => groupsOf(map), [map]);
  const [hidden, setHidden] = useState(lastHidden ?? { by: map.by, off: new Set<number>() });
  lastHidden = hidden;
  const off = useMemo(() => (hidden.by === map.by ? hidden.off : new Set<number>()), [hidden, map.by]);
  const [lines, setLines] = useState(false);
  const person = useLoaded(() => (user === "" ? Promise.resolve(null) : loadPerson(user)), [user]);
  const shown = user !== "" && !person.loading ? person.data : null;
  const n = map.item_ids.length;
  const amount = n < map.total ? `${number(n)} of ${number(map.total)} items, evenly thinned: popular ones stay` : counted(n, "item");
  return (
    <>
      <Controls by={map.by} user={user} lines={lines} setLines={setLines} />
      <p class="muted map-note">
        {amount}. Items near each other have similar embeddings ({map.method}); directions and distances across the map
        mean nothing.
      </p>
      {user !== "" && person.problem && <ErrorNotice problem={person.problem} retry={person.reload} />}
      <div class="map-layout">
        <div>
          <Stage
            points={points}
            nameOf={(index) => map.groups[map.group[index] ?? -1]?.name || `no ${map.by}`}
            off={off}
            person={shown}
            lines={lines}
            label={`Map of ${amount}`}
          />
          <p class="muted" id="map-help">
            Drag or arrow keys move, the wheel or + and − zoom, 0 shows all. Enter chooses an item, Shift and arrows the
            next one, Enter opens it. {shown && "Squares are past items, numbered circles the list."}
          </p>
        </div>
        <div>
          <Legend groups={groups} by={map.by} off={off} setOff={(next) => setHidden({ by: map.by, off: next })} />
          {shown && <PersonList user={user} person={shown} />}
          {user !== "" && person.loading && <p role="status">Loading the list of {user} …</p>}
        </div>
      </div>
      <div id="map-palette" hidden>
        {Array.from({ length: COLOURS + 1 }, (_, colour) => (
          <span key={colour} class={`map-colour-${colour}`} />
        ))}
      </div>
    </>
  );
}

function Controls(props: { by: By; user: string; lines: boolean; setLines: (lines: boolean) => void }) {
  const show = (by: string, user: string) => goTo("map", "", { user, by });
  const send = (event: SubmitEvent & { currentTarget: HTMLFormElement }) => {
    event.preventDefault();
    show(props.by, String(new FormData(event.currentTarget).get("user") ?? "").trim());
  };
  return (
    <form class="panel controls" onSubmit={send}>
      <label>
        Colours
        <select value={props.by} onChange={(event) => show(event.currentTarget.value, props.user)}>
          <option value="category">Categories</option>
          <option value="cluster">Clusters</option>
        </select>
      </label>
      <UserField user={props.user} choose={(user) => show(props.by, user)} />
      <button type="submit" class="primary">
        Show on the map
      </button>
      {props.user !== "" && (
        <label class="map-check">
          <input type="checkbox" checked={props.lines} onChange={() => props.setLines(!props.lines)} /> Lines to past items
        </label>
      )}
    </form>
  );
}
