/** Models: the bundles of the registry, two of them compared, publish and roll back, and retrainings. */
import { useState } from "preact/hooks";
import { type Problem, answer, api, useLoaded } from "../api";
import type { Route } from "../route";
import { ErrorNotice } from "../ui/notice";
import "./models.css";
import { BundleDetails } from "./models/bundle-details";
import { BundleTable } from "./models/bundle-table";
import { Comparison } from "./models/comparison";
import { PublishDialog, RollbackDialog } from "./models/publishing";
import { Retraining } from "./models/retraining";

const EVERY_MS = 10_000;
const SETTLING_MS = 2_000;
const REFUSALS = [401, 403, 404];

type Asked = { publish: string } | { rollBackTo: string } | null;

export function ModelsView({ route }: { route: Route }) {
  const [settling, setSettling] = useState(false);
  const load = async () => {
    const found = await answer(api.GET("/bundles"));
    setSettling(found.bundles.some(({ role }) => role === "published")); // it serves in a moment
    return found;
  };
  const loaded = useLoaded(load, [], settling ? SETTLING_MS : EVERY_MS);
  const [asked, setAsked] = useState<Asked>(null);
  const [news, setNews] = useState<string | null>(null);
  const { data, problem } = loaded;
  if (data === null && problem && REFUSALS.includes(problem.status))
    return <Refused problem={problem} retry={loaded.reload} />;
  const a = route.params.get("a") ?? "";
  const b = route.params.get("b") ?? "";
  const shown = data?.bundles.find((one) => one.bundle_id === route.id);
  const finish = (text: string) => {
    setAsked(null);
    setNews(text);
    loaded.reload();
  };
  const cancel = () => {
    setAsked(null);
    loaded.reload(); // a refused publish has left a gate report
  };
  return (
    <>
      <p role="status" class={news === null ? "hidden-text" : "notice good"}>
        {news}
      </p>
      {problem && <ErrorNotice problem={problem} retry={loaded.reload} />}
      {data === null && !problem && <p role="status">Loading …</p>}
      {data && (
        <>
          <Trouble trouble={data.trouble} damage={data.damage} />
          <BundleTable
            answer={data}
            chosen={[a, b].filter((one) => one !== "")}
            publish={(bundle) => setAsked({ publish: bundle })}
            rollBack={(bundle) => setAsked({ rollBackTo: bundle })}
          />
          {route.id !== "" && <BundleDetails id={route.id} bundle={shown} />}
          {a !== "" && b !== "" && (
            <Comparison a={a} b={b} user={route.params.get("user") ?? ""} bundles={data.bundles} />
          )}
          {asked && "publish" in asked && (
            <PublishDialog bundle={asked.publish} serving={data.bundle} done={finish} close={cancel} />
          )}
          {asked && "rollBackTo" in asked && (
            <RollbackDialog target={asked.rollBackTo} leaving={data.published} done={finish} close={cancel} />
          )}
        </>
      )}
      <Retraining chosen={route.params.get("job") ?? ""} changed={loaded.reload} />
    </>
  );
}

function Trouble({ trouble, damage }: { trouble: TroubleInfo | null; damage: string[] }) {
  return (
    <>
      {trouble && (
        <div class="notice error" role="alert">
          <p>
            <strong>A swap failed, and the bundle before still serves.</strong>
          </p>
          <p>
            <code>{trouble.bundle}</code>: {trouble.error}
          </p>
          <p class="muted">It is tried again by itself; publishing another bundle ends this.</p>
        </div>
      )}
      {damage.length > 0 && (
        <div class="notice error" role="alert">
          <p>
            <strong>Files of the bundle that serves are damaged on disk.</strong>
          </p>
          <p>{damage.join("; ")}</p>
        </div>
      )}
    </>
  );
}

interface TroubleInfo {
  bundle: string;
  error: string;
}

/** What to do where the bundles may not be seen; which one serves is known to everyone. */
function Refused({ problem, retry }: { problem: Problem; retry: () => void }) {
  const ready = useLoaded(() => answer(api.GET("/readyz")), []);
  return (
    <>
      <ErrorNotice problem={problem} retry={retry} />
      <section class="panel">
        <h2>How to see the models</h2>
        <p>
          Bundles, publishing and retraining are for admins. With keys: enter one of role <code>admin</code> at the top
          of the page. Without keys: start the service with <code>RECO_ADMIN_OPEN=true</code>. Where{" "}
          <code>RECO_ADMIN_PORT</code> is set: open <code>/console</code> on that port.
        </p>
        {ready.data && (
          <p>
            This service answers from <code>{ready.data.bundle}</code>.
          </p>
        )}
      </section>
    </>
  );
}
