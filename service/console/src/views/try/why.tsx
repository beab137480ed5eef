/** Why an item is in the list: its score by part, and by past item, with the rank that it would have without one. */
import { useState } from "preact/hooks";
import { linkTo } from "../../route";
import { ErrorNotice } from "../../ui/notice";
import { PartsBar, Swatch, wordsOf } from "../../ui/parts";
import { Picture } from "../../ui/picture";
import type { Loaded, Schemas } from "../../api";
import { useItem } from "./items";
import { type RanksWithout, pairOf } from "./listing";
import { number, signed } from "../../ui/format";
import type { RecommendedItem } from "./wish";
import "./why.css";

const WEIGHT_HINT = "How much it counts, by how recent it is, the kind of event, or a dislike; 1 is usual";

type Explanation = Schemas["Explanation"];
type PastItem = Schemas["PastItem"];

/** The ranks without past items, requested by the first switch. */
export interface Without {
  ranks: Loaded<RanksWithout | null>;
  request: () => void;
  ordered: boolean; // whether the list has another order than that by score, which those ranks are of
}

export function Why({ item, without }: { item: RecommendedItem; without: Without }) {
  const explanation = item.explanation;
  if (!explanation) return <p class="muted">The response has no explanation.</p>;
  const parts = { ...explanation.parts, ...(explanation.rules != null && { rules: explanation.rules }) };
  const shares = Object.entries(parts).filter(([, share]) => share !== 0);
  return (
    <div class="why">
      <p class="sentence">{explanation.sentence}</p>
      {shares.length > 0 && (
        <section aria-label="By part">
          <h4>Its score, part by part</h4>
          <Parts shares={shares} score={item.score} />
        </section>
      )}
      {explanation.past_items && (
        <section aria-label="By past item">
          <h4>And by past item</h4>
          <PastItems item={item} explanation={explanation} without={without} />
        </section>
      )}
    </div>
  );
}

/** A bar, and the number of each part. */
function Parts({ shares, score }: { shares: [string, number][]; score: number }) {
  return (
    <>
      <PartsBar shares={shares} />
      <table class="parts">
        <caption class="hidden-text">The parts of the score</caption>
        <thead class="hidden-text">
          <tr>
            <th scope="col">Part</th>
            <th scope="col">Share of the score</th>
          </tr>
        </thead>
        <tbody>
          {shares.map(([name, share]) => (
            <tr key={name}>
              <th scope="row">
                <Swatch part={name} /> {wordsOf(name)}
              </th>
              <td class="number" data-share={share}>
                {signed(share)}
              </td>
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <th scope="row">Score</th>
            <td class="number" data-score={score}>
              {number(score)}
            </td>
          </tr>
        </tfoot>
      </table>
    </>
  );
}

function PastItems({ item, explanation, without }: { item: RecommendedItem; explanation: Explanation; without: Without }) {
  const past = explanation.past_items ?? [];
  const rest: [string, number | null | undefined][] = [
    ["All other past items", explanation.other_past_items],
    ["Of the user, beyond past items", explanation.user_own],
    ["Rules", explanation.rules],
  ];
  const largest = Math.max(...past.map(({ contribution }) => Math.abs(contribution)), ...rest.map(([, share]) => Math.abs(share ?? 0)));
  return (
    <>
      {without.ranks.problem && <ErrorNotice problem={without.ranks.problem} retry={without.ranks.reload} />}
      <ul class="past">
        {past.map((one) => (
          <Past key={one.item_id} item={item} past={one} largest={largest} without={without} />
        ))}
        {rest
          .filter(([, share]) => share)
          .map(([name, share]) => (
            <li key={name} class="rest">
              <span>{name}</span>
              <Share share={share ?? 0} largest={largest} />
            </li>
          ))}
      </ul>
    </>
  );
}

function Share({ share, largest }: { share: number; largest: number }) {
  return (
    <span class="share">
      <span class="track" aria-hidden="true">
        <span class={share < 0 ? "fill negative" : "fill"} style={{ width: `${(100 * Math.abs(share)) / (largest || 1)}%` }} />
      </span>
      <span class="number">{signed(share)}</span>
    </span>
  );
}

function Past({ item, past, largest, without }: { item: RecommendedItem; past: PastItem; largest: number; without: Without }) {
  const [left, setLeft] = useState(false);
  const found = useItem(past.item_id);
  const title = past.title || found?.title || past.item_id;
  return (
    <li class={left ? "left-out" : ""}>
      <span class="thumbnail">
        <Picture url={found?.image} title={title} />
      </span>
      <div class="past-text">
        <a href={linkTo("items", past.item_id)}>{title}</a>
        <Share share={past.contribution} largest={largest} />
        {past.weight != null && (
          <span class="muted" title={WEIGHT_HINT}>
            weight {number(past.weight)}
            <span class="hidden-text">. {WEIGHT_HINT}</span>
          </span>
        )}
      </div>
      <div class="past-without">
        <button
          type="button"
          role="switch"
          aria-checked={left}
          aria-label={`Without ${title}`}
          onClick={() => (setLeft(!left), without.request())}
        >
          <span class="knob" aria-hidden="true" />
          without this
        </button>
        <span class="rank-without" role="status">
          {left ? rankSaid(item, past, without) : ""}
        </span>
      </div>
    </li>
  );
}

function rankSaid(item: RecommendedItem, past: PastItem, { ranks, ordered }: Without): string {
  const rank = ranks.data?.get(pairOf(item.item_id, past.item_id));
  if (rank === undefined) return ranks.problem === null ? "…" : "";
  if (rank === null) return "nothing left to rank by";
  if (ordered) return `rank ${number(rank)} by score`;
  return rank === item.rank ? `stays at rank ${rank}` : `rank ${item.rank} → ${number(rank)}`;
}
