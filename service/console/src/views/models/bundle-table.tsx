/** All bundles of the registry, newest first; two of them can be chosen for a comparison. */
import { useEffect, useState } from "preact/hooks";
import type { Schemas } from "../../api";
import { goTo, linkTo } from "../../route";
import { bytes, number } from "../../ui/format";
import { Time } from "../../ui/time";

type Info = Schemas["BundleInfo"];

interface Given {
  answer: Schemas["BundlesAnswer"];
  chosen: string[]; // compared now
  publish: (bundle: string) => void;
  rollBack: (bundle: string) => void;
}

const TWO = 2;

export function BundleTable({ answer, chosen, publish, rollBack }: Given) {
  const [ticked, setTicked] = useState(chosen);
  useEffect(() => setTicked(chosen), [chosen.join()]);
  const target = answer.bundles.find(({ role }) => role === "rollback")?.bundle_id;
  const tick = (id: string, on: boolean) =>
    setTicked((last) => (on ? [...last.filter((one) => one !== id), id].slice(-TWO) : last.filter((one) => one !== id)));
  const [newer = "", older = ""] = answer.bundles.map((one) => one.bundle_id).filter((id) => ticked.includes(id));
  return (
    <section class="panel models-bundles" aria-labelledby="bundles-heading">
      <h2 id="bundles-heading">Bundles</h2>
      <p class="muted">
        A bundle is what one training gives: vectors, items and a search index. One serves; publishing another one swaps
        without downtime.
      </p>
      <p class="controls">
        <button
          type="button"
          class="primary"
          disabled={ticked.length < TWO}
          onClick={() => goTo("models", "", { a: older, b: newer })}
        >
          Compare the two chosen
        </button>
        <button type="button" disabled={target === undefined} onClick={() => target !== undefined && rollBack(target)}>
          Roll back …
        </button>
        <span class="muted" role="status">
          {ticked.length === TWO ? "" : `Choose ${TWO - ticked.length === TWO ? "two bundles" : "one more"} to compare.`}
        </span>
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Bundles, newest first">
        <table>
          <thead>
            <tr>
              <th scope="col">
                <span class="hidden-text">Compare</span>
              </th>
              <th scope="col">Bundle</th>
              <th scope="col">State</th>
              <th scope="col" class="number">
                Recall@20
              </th>
              <th scope="col" class="number">
                NDCG@20
              </th>
              <th scope="col" class="number">
                Users
              </th>
              <th scope="col" class="number">
                Items
              </th>
              <th scope="col" class="number">
                Size
              </th>
              <th scope="col">Gate</th>
              <th scope="col">
                <span class="hidden-text">Publish</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {answer.bundles.map((one) => (
              <Row key={one.bundle_id} one={one} ticked={ticked.includes(one.bundle_id)} tick={tick} publish={publish} />
            ))}
          </tbody>
        </table>
      </div>
      <p class="muted">Recall and NDCG of the test split.</p>
    </section>
  );
}

interface RowGiven {
  one: Info;
  ticked: boolean;
  tick: (id: string, on: boolean) => void;
  publish: (bundle: string) => void;
}

function Row({ one, ticked, tick, publish }: RowGiven) {
  const id = one.bundle_id;
  const test = one.metrics?.["test"];
  return (
    <tr>
      <td>
        <input
          type="checkbox"
          aria-label={`Compare ${id}`}
          checked={ticked}
          disabled={one.unreadable !== null}
          onChange={(event) => tick(id, event.currentTarget.checked)}
        />
      </td>
      <th scope="row" class="models-name">
        <a href={linkTo("models", id)}>{one.model ?? "unreadable"}</a> {one.created_at && <Time at={one.created_at} />}
        <br />
        <code>{id}</code>
      </th>
      <td>
        <State one={one} />
      </td>
      <td class="number">{number(test?.["recall@20"])}</td>
      <td class="number">{number(test?.["ndcg@20"])}</td>
      <td class="number">{number(one.n_users)}</td>
      <td class="number">{number(one.n_items)}</td>
      <td class="number">{bytes(one.bytes)}</td>
      <td>
        <GateVerdict gate={one.gate} />
      </td>
      <td>
        {one.role !== "serves" && (
          <button type="button" aria-label={`Publish ${id}`} onClick={() => publish(id)}>
            Publish …
          </button>
        )}
      </td>
    </tr>
  );
}

const ROLES: Record<string, string> = {
  serves: "serves",
  published: "published, but another one serves here",
  rollback: "a rollback goes here",
};

/** What the bundle does now, and what is wrong with it. */
export function State({ one }: { one: Info }) {
  return (
    <span class="badges">
      {ROLES[one.role] && <span class={one.role === "serves" ? "badge active" : "badge"}>{ROLES[one.role]}</span>}
      {one.withdrawn && <span class="badge bad">withdrawn</span>}
      {one.unreadable !== null && <span class="badge bad">unreadable</span>}
    </span>
  );
}

/** The gate's verdict in a word. */
function GateVerdict({ gate }: { gate: Info["gate"] }) {
  if (!gate) return <span class="muted">not run</span>;
  const failed = gate.checks.filter(({ passed }) => !passed).length;
  return gate.passed ? <span class="good">passed</span> : <span class="bad">refused: {failed} failed</span>;
}
