/** Retrainings: start one, follow its stages and its log, cancel it. */
import { useEffect, useState } from "preact/hooks";
import { type Schemas, answer, api, useLoaded } from "../../api";
import { linkTo } from "../../route";
import { Confirm } from "../../ui/confirm";
import { byWhom, seconds } from "../../ui/format";
import { Await, ErrorNotice } from "../../ui/notice";
import { Time } from "../../ui/time";
import { GateReport } from "./gate-report";

type Job = Schemas["ShownJob"];

const ENDED = ["published", "refused", "failed", "cancelled"];
const RUNNING_MS = 1_500;
const IDLE_MS = 15_000;
const LOG_LINES = 100;
const OFF = "retraining_off";

/** changed: called when a job begins, or comes to another state. */
export function Retraining({ chosen, changed }: { chosen: string; changed: () => void }) {
  const [active, setActive] = useState(false);
  const [asks, setAsks] = useState(false);
  const load = async () => {
    const { jobs } = await answer(api.GET("/retrain", { params: { query: { limit: 20 } } }));
    setActive(jobs.some(({ state }) => !ENDED.includes(state)));
    return jobs;
  };
  const loaded = useLoaded(load, [], active ? RUNNING_MS : IDLE_MS);
  const states = loaded.data?.map(({ id, state }) => `${id} ${state}`).join();
  useEffect(() => {
    if (states) changed();
  }, [states]);
  return (
    <section class="panel" aria-labelledby="retraining-heading">
      <h2 id="retraining-heading">Retraining</h2>
      {loaded.problem?.code === OFF ? (
        <Off />
      ) : (
        <Await loaded={loaded}>
          {(jobs) => (
            <>
              <p class="controls">
                <button type="button" class="primary" disabled={active} onClick={() => setAsks(true)}>
                  Start a retraining …
                </button>
                {active && <span class="muted">One runs; the next one can start when it has ended.</span>}
              </p>
              {jobs.length === 0 && <p>There has been no retraining yet.</p>}
              <ul class="models-jobs">
                {jobs.map((job) => (
                  <JobRow key={job.id} job={job} open={job.id === chosen} changed={loaded.reload} />
                ))}
              </ul>
            </>
          )}
        </Await>
      )}
      {asks && (
        <Confirm
          title="Start a retraining?"
          action="Start"
          run={() => answer(api.POST("/retrain", {}))}
          done={() => {
            setAsks(false);
            loaded.reload();
          }}
          close={() => setAsks(false)}
        >
          <p>
            The service exports its events, trains a new bundle on them and the data of <code>RECO_RETRAIN_DATA</code>,
            and the gate checks it. If it passes, it is published to everybody, or to the arm that{" "}
            <code>RECO_RETRAIN_ARM</code> names.
          </p>
        </Confirm>
      )}
    </section>
  );
}

function Off() {
  return (
    <>
      <p>Retraining is off: this service does not know what data to train on. Start it with the dataset’s folder:</p>
      <pre tabIndex={0} aria-label="How to switch retraining on">
        RECO_RETRAIN_DATA=data/shop python -m service run
      </pre>
      <p class="muted">
        Then it trains here when asked, by number of events or by schedule; <code>RECO_RETRAIN_COMMAND</code> names
        another trainer, <code>RECO_RETRAIN_LAUNCHER</code> another place. See docs/retraining.md.
      </p>
    </>
  );
}

const COLOURS: Record<string, string> = { published: "good", refused: "bad", failed: "bad", cancelled: "" };

function JobRow({ job, open, changed }: { job: Job; open: boolean; changed: () => void }) {
  return (
    <li class="models-job">
      <p class="models-job-head">
        <span class={`badge ${COLOURS[job.state] ?? "active"}`}>{job.state}</span>{" "}
        <a href={open ? linkTo("models") : linkTo("models", "", { job: job.id })} aria-expanded={open}>
          {job.id}
        </a>{" "}
        <Time at={job.created_at} />, {job.trigger === "call" ? `asked for ${byWhom(job.asked_by)}` : `by ${job.trigger}`}
        {job.arm ? `, for ${job.arm}` : ""}
      </p>
      <Stages job={job} />
      {job.bundle !== null && (
        <p>
          Bundle <a href={linkTo("models", job.bundle)}>{job.bundle}</a>
        </p>
      )}
      {job.reason !== "" && <p class={job.state === "published" ? "warn" : "bad"}>{job.reason}</p>}
      {open && <JobDetails id={job.id} ended={ENDED.includes(job.state)} changed={changed} />}
    </li>
  );
}

const STAGES = ["exporting", "training", "gating", "publishing"] as const;

/** The stages in a line: those done with their times, the one that runs, those to come. */
function Stages({ job }: { job: Job }) {
  return (
    <ol class="models-stages">
      {STAGES.map((name) => {
        const stage = job.stages.find((one) => one.name === name);
        const until = stage?.ended_at ?? (ENDED.includes(job.state) ? null : Date.now() / 1_000);
        const failed = ["refused", "failed"].includes(job.state) && stage === job.stages.at(-1);
        const state = stage === undefined ? "to-come" : stage.ended_at == null ? "runs" : failed ? "failed" : "done";
        return (
          <li key={name} class={state}>
            {name}
            <span class="muted">
              {stage === undefined ? (ENDED.includes(job.state) ? "not reached" : "to come") : until === null ? "" : seconds(until - stage.started_at)}
              {state === "runs" && " so far"}
            </span>
          </li>
        );
      })}
    </ol>
  );
}

/** The gate's report and the end of the log, loaded again while the job runs. */
function JobDetails({ id, ended, changed }: { id: string; ended: boolean; changed: () => void }) {
  const query = { log_lines: LOG_LINES };
  const loaded = useLoaded(
    () => answer(api.GET("/retrain/{job}", { params: { path: { job: id }, query } })),
    [id, ended],
    ended ? undefined : RUNNING_MS,
  );
  const [asks, setAsks] = useState(false);
  return (
    <>
      {loaded.problem && loaded.data === null && <ErrorNotice problem={loaded.problem} retry={loaded.reload} />}
      {loaded.data && (
        <>
          {loaded.data.job.gate && <GateReport checks={loaded.data.job.gate.checks} />}
          <h3>Log</h3>
          <pre class="models-log" tabIndex={0} role="log" aria-label={`The last ${LOG_LINES} lines of the log`}>
            {loaded.data.log.length > 0 ? loaded.data.log.join("\n") : "No lines yet."}
          </pre>
        </>
      )}
      {!ended && (
        <p>
          <button type="button" class="danger" onClick={() => setAsks(true)}>
            Cancel this retraining …
          </button>
        </p>
      )}
      {asks && (
        <Confirm
          title="Cancel this retraining?"
          action="Cancel the retraining"
          danger
          run={() => answer(api.DELETE("/retrain/{job}", { params: { path: { job: id } } }))}
          done={() => {
            setAsks(false);
            changed();
          }}
          close={() => setAsks(false)}
        >
          <p>The training is stopped, and nothing is published. Another one can be started at once.</p>
        </Confirm>
      )}
    </>
  );
}
