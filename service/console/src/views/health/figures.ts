/** The figures of the health view, out of the samples of /metrics. */
import { PROBES } from "../../alerts/finding.ts";
import { type Window, within } from "../../history.ts";
import { type Increase, type Labels, type Match, type Sample, quantile, sumOf } from "../../prometheus.ts";

const CACHED_ROUTES = ["/recommend/{user_id}", "/similar/{item_id}", "/popular"]; // whose responses the service keeps
const HISTOGRAMS = ["reco_request_seconds_bucket", "reco_event_write_seconds_bucket"];
const REQUESTS = "reco_requests_total";
const SECONDS = "reco_request_seconds_bucket";

/** Whether the view reads the metric: hundreds of samples are kept. */
export function isRead(name: string): boolean {
  return !name.endsWith("_created") && (!name.endsWith("_bucket") || HISTOGRAMS.includes(name));
}

const isWork: Match = { route: (route) => !PROBES.includes(route) };

export interface RouteRow {
  readonly method: string;
  readonly route: string;
  readonly requests: number;
  readonly perS: number;
  readonly statuses: readonly (readonly [string, number])[];
  readonly p50: number; // seconds
  readonly p99: number;
}

/** A row for each route that was requested, the busiest first. */
export function routeRows(window: Window): RouteRow[] {
  const counts = within(window, REQUESTS).filter(({ by }) => by > 0);
  const seconds = within(window, SECONDS);
  const routes = new Map<string, Increase[]>();
  for (const one of counts) {
    const key = `${one.labels.method} ${one.labels.route}`;
    routes.set(key, [...(routes.get(key) ?? []), one]);
  }
  const rows = [...routes.values()].map((ofRoute) => {
    const { method = "", route = "" } = ofRoute[0]?.labels ?? {};
    const buckets = seconds.filter(({ labels }) => labels.method === method && labels.route === route);
    const requests = sumOf(ofRoute);
    const statuses = ofRoute.map(({ labels, by }) => [labels.status ?? "", by] as const).sort();
    const latencies = { p50: quantile(0.5, buckets), p99: quantile(0.99, buckets) };
    return { method, route, requests, perS: requests / window.seconds, statuses, ...latencies };
  });
  return rows.sort((one, other) => other.requests - one.requests);
}

/** All routes but those of probes together. */
export interface Totals {
  readonly requests: number;
  readonly perS: number;
  readonly ok: number; // per second
  readonly refused: number; // 4xx per second
  readonly failed: number; // 5xx per second
  readonly p50: number; // seconds
  readonly p99: number;
}

export function totals(window: Window): Totals {
  const counts = within(window, REQUESTS, isWork);
  const perS = (wanted: (status: string) => boolean) =>
    sumOf(counts.filter(({ labels }) => wanted(labels.status ?? ""))) / window.seconds;
  const buckets = within(window, SECONDS, isWork);
  return {
    requests: sumOf(counts),
    perS: perS(() => true),
    ok: perS((status) => status < "4"),
    refused: perS((status) => status.startsWith("4")),
    failed: perS((status) => status >= "5"),
    p50: quantile(0.5, buckets),
    p99: quantile(0.99, buckets),
  };
}

/** What happened between two samples, for the charts. */
export interface Point extends Totals {
  readonly timeS: number;
}

export function point(before: Sample, after: Sample): Point {
  const seconds = Math.max(after.timeS - before.timeS, 0.001);
  return { timeS: after.timeS, ...totals({ samples: [before, after], fromZero: false, seconds }) };
}

export interface Share {
  readonly hits: number;
  readonly all: number;
}

/** How many responses that the service may keep came from memory. */
export function responseCache(window: Window): Share {
  const cacheable = { method: "GET", route: CACHED_ROUTES, status: "200" };
  return {
    hits: sumOf(within(window, "reco_stage_seconds_count", { stage: "kept" })),
    all: sumOf(within(window, REQUESTS, cacheable)),
  };
}

/** How many user profiles came from this process's memory. */
export function profileCache(window: Window): Share {
  const all = within(window, "reco_vectors_total");
  return { hits: sumOf(all.filter(({ labels }) => labels.source === "memory")), all: sumOf(all) };
}

/** How many user vectors that Redis was asked for it had. */
export function redisCache(window: Window): Share {
  const all = within(window, "reco_redis_reads_total");
  return { hits: sumOf(all.filter(({ labels }) => labels.outcome === "hit")), all: sumOf(all) };
}

/** A counter by one of its labels, the largest first, without what did not grow. */
export function byLabel(window: Window, metric: string, label: keyof Labels): (readonly [string, number])[] {
  const grown = within(window, metric).filter(({ by }) => by > 0);
  return grown.map(({ labels, by }) => [labels[label] ?? "", by] as const).sort(([, one], [, other]) => other - one);
}

/** Cores in use. */
export function cores(window: Window): number {
  return sumOf(within(window, "process_cpu_seconds_total")) / window.seconds;
}

export function eventWrite(window: Window, q: number): number {
  return quantile(q, within(window, "reco_event_write_seconds_bucket"));
}
