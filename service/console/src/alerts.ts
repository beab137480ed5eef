/** The alerts of deploy/prometheus/alerts.yml that the metrics of one service can tell, evaluated here.
 *
 * `expr`, `forS` and `severity` are those of the rules; a test compares all of them, so that the two cannot drift. */
import { BUNDLE } from "./alerts/bundle.ts";
import type { Alert } from "./alerts/finding.ts";
import { PROCESS } from "./alerts/process.ts";
import { STORES } from "./alerts/stores.ts";
import type { History } from "./history.ts";

export const ALERTS: readonly Alert[] = [...PROCESS, ...BUNDLE, ...STORES];

const BURNS = "compares error budgets over hours and days";
const REPLICAS = "compares replicas";

/** By name, why one service's metrics cannot tell the other alerts. */
export const NEEDS_PROMETHEUS: Readonly<Record<string, string>> = {
  RecoAvailabilityBurnsFast: BURNS,
  RecoAvailabilityBurnsSlowly: BURNS,
  RecoLatencyBurnsFast: BURNS,
  RecoLatencyBurnsSlowly: BURNS,
  RecoRedisBurnsFast: BURNS,
  RecoBudgetSpent: BURNS,
  RecoNoReplica: "notices that no replica can be scraped",
  RecoReplicaDown: "notices a replica that cannot be scraped",
  RecoReplicaRestarts: "counts starts within half an hour",
  RecoBundlesDisagree: REPLICAS,
  RecoRetrainingLeaderless: REPLICAS,
};

/** An alert that holds now. */
export interface Holding {
  readonly alert: Alert;
  readonly found: readonly string[];
  readonly sinceS: number; // unix, of the first sample in a row at which it holds
  readonly fires: boolean; // whether it has held for as long as Prometheus would wait
}

/** The alerts that hold at the latest sample; `before`: those at the sample before. */
export function evaluate(history: History, before: readonly Holding[]): Holding[] {
  const now = history.latest.timeS;
  return ALERTS.flatMap((alert) => {
    const found = alert.find(history);
    if (found.length === 0) return [];
    const sinceS = before.find((one) => one.alert === alert)?.sinceS ?? now;
    return [{ alert, found, sinceS, fires: now - sinceS >= alert.forS }];
  });
}
