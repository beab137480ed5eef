/** Samples of /metrics, taken while the view is open, and what follows from them. */
import { useEffect, useState } from "preact/hooks";
import { type Holding, evaluate } from "../../alerts.ts";
import { BASE, type Loaded, answer, fetchFromService, useLoaded } from "../../api";
import { History } from "../../history.ts";
import { type Sample, parseMetrics, startOf } from "../../prometheus.ts";
import { type Point, isRead, point } from "./figures.ts";

export const EVERY_MS = 5_000;
const MOST_POINTS = 120; // ten minutes

export interface Health {
  readonly history: History;
  readonly points: readonly Point[]; // for the charts
  readonly holding: readonly Holding[]; // alerts
  readonly restartedS: number | null; // unix time of a start that the view has seen
}

/** What was seen so far, null before the first sample; and the request for the next sample. */
export function useHealth(): [Health | null, Loaded<Sample>] {
  const loaded = useLoaded(takeSample, [], EVERY_MS);
  const [health, setHealth] = useState<Health | null>(null);
  const sample = loaded.data;
  useEffect(() => {
    if (sample !== null) setHealth((before) => next(before, sample));
  }, [sample]);
  return [health, loaded];
}

async function takeSample(): Promise<Sample> {
  const text = await answer(metricsText());
  return parseMetrics(text, Date.now() / 1000, isRead);
}

async function metricsText(): Promise<{ data?: string; error?: unknown; response: Response }> {
  const response = await fetchFromService(`${BASE}/metrics`);
  const text = await response.text();
  return response.ok ? { data: text, response } : { error: asJson(text), response };
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function next(before: Health | null, sample: Sample): Health {
  if (before === null) {
    const history = new History([sample]);
    return { history, points: [], holding: evaluate(history, []), restartedS: null };
  }
  const last = before.history.latest;
  const history = before.history.with(sample);
  return {
    history,
    points: [...before.points, point(last, sample)].slice(-MOST_POINTS),
    holding: evaluate(history, before.holding),
    restartedS: startOf(sample) > startOf(last) ? startOf(sample) : before.restartedS,
  };
}
