/** What an alert is, and the ways in which most of them look at the metrics. */
import type { History } from "../history.ts";
import { type Labels, type Match, seriesOf, sumOf } from "../prometheus.ts";

export interface Alert {
  readonly name: string;
  readonly severity: "page" | "ticket";
  readonly forS: number; // how long it must hold before Prometheus fires it
  readonly expr: string;
  /** A sentence for each thing found; none where the alert does not hold. */
  readonly find: (history: History) => string[];
}

export const MINUTE = 60;
export const HOUR = 60 * MINUTE;
export const PROBES = ["/healthz", "/readyz", "/metrics"]; // routes that are no work of the service

/** Gauges that have this value. */
export function equal(metric: string, value: number, say: (labels: Labels) => string): Alert["find"] {
  return ({ latest }) => seriesOf(latest, metric).filter((one) => one.value === value).map(({ labels }) => say(labels));
}

/** Counters that grew in the last seconds. */
export function grew(metric: string, seconds: number, match: Match, say: (labels: Labels, by: number) => string): Alert["find"] {
  return (history) => history.increase(metric, seconds, match).filter(({ by }) => by > 0).map(({ labels, by }) => say(labels, by));
}

export function grown(history: History, metric: string, seconds: number, match: Match = {}): number {
  return sumOf(history.increase(metric, seconds, match));
}

export function when(holds: boolean, sentence: string): string[] {
  return holds ? [sentence] : [];
}
