/** Publishing a bundle and rolling back: what will happen, and why the gate refused it. */
import { useState } from "preact/hooks";
import { Problem, type Schemas, answer, api } from "../../api";
import { Confirm } from "../../ui/confirm";
import { GateReport } from "./gate-report";

interface Given {
  done: (news: string) => void;
  close: () => void;
}

const SLOW = "It takes longer than this page waits; the service goes on, and the list shows the swap when it is done.";

/** The result, or null where the service goes on after the page has ceased to wait. */
function orLater(result: Promise<Schemas["PublishAnswer"]>): Promise<Schemas["PublishAnswer"] | null> {
  return result.catch((error: unknown) => {
    if (error instanceof Problem && error.code === "timeout") return null;
    throw error;
  });
}

export function PublishDialog({ bundle, serving, done, close }: Given & { bundle: string; serving: string }) {
  const [refused, setRefused] = useState<Schemas["Gate"] | null>(null);
  const [force, setForce] = useState(false);
  const publish = async () => {
    const sent = api.POST("/bundles/{bundle_id}/publish", { params: { path: { bundle_id: bundle }, query: { force } } });
    const { error } = await sent.catch(() => ({ error: undefined }));
    if (error && "gate" in error && error.gate) setRefused(error.gate);
    return orLater(answer(sent));
  };
  const tell = (result: Schemas["PublishAnswer"] | null) =>
    done(
      result === null
        ? SLOW
        : `${result.published} ${result.swapped ? "serves now" : "served already"}` +
            `${result.forced ? ", published by force though the gate refused it" : ""}.`,
    );
  return (
    <Confirm
      title={refused ? "The gate refused it" : "Publish this bundle?"}
      action={force ? "Publish by force" : refused ? "Run the gate again" : "Publish"}
      danger={force}
      run={publish}
      done={tell}
      close={close}
    >
      <p>
        <code>{bundle}</code>
      </p>
      {refused ? (
        <>
          <p>
            Nothing has changed: <code>{serving}</code> serves on.
          </p>
          <GateReport checks={refused.checks.filter(({ passed }) => !passed)} />
          <p class="models-force">
            <label>
              <input type="checkbox" checked={force} onChange={(event) => setForce(event.currentTarget.checked)} />{" "}
              Publish though the gate refuses it (<code>force=true</code>)
            </label>
          </p>
          <p class="muted">
            By force every user gets it, with the faults above; the record says that it was forced. A bundle that is
            damaged or cannot answer recent requests is refused even then.
          </p>
        </>
      ) : (
        <ul>
          <li>
            The gate checks it against <code>{serving}</code>, which serves now.
          </li>
          <li>This process loads it, replays recent requests, and swaps; requests in flight finish on the old one.</li>
          <li>All replicas follow within seconds. If its answers fail or are slow, it is rolled back by itself.</li>
        </ul>
      )}
    </Confirm>
  );
}

export function RollbackDialog({ target, leaving, done, close }: Given & { target: string; leaving: string | null }) {
  const query = leaving === null ? {} : { leaving };
  const roll = () => orLater(answer(api.POST("/bundles/rollback", { params: { query } })));
  return (
    <Confirm
      title="Roll back?"
      action="Roll back"
      danger
      run={roll}
      done={(result) => done(result === null ? SLOW : `Rolled back: ${result.bundle} serves now.`)}
      close={close}
    >
      <p>
        Every user gets <code>{target}</code> again, which was published before
        {leaving !== null && (
          <>
            {" "}
            <code>{leaving}</code>
          </>
        )}
        . The gate does not run. The bundle that is left stays in the registry and can be published again.
      </p>
    </Confirm>
  );
}
