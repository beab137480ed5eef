/** The alerts of the bundle that serves and of its index. */
import { type Alert, HOUR, MINUTE, equal, grew, grown, when } from "./finding.ts";
import { valueOf } from "../prometheus.ts";
import { number, percent } from "../ui/format.ts";

export const BUNDLE: readonly Alert[] = [
  {
    name: "RecoBundleStale",
    severity: "ticket",
    forS: 15 * MINUTE,
    expr: "(time() - min by (namespace) (reco_bundle_created_timestamp_seconds)) > 48 * 3600",
    find: ({ latest }) => {
      const age = latest.timeS - (valueOf(latest, "reco_bundle_created_timestamp_seconds") ?? latest.timeS);
      return when(age > 48 * HOUR, `The bundle in use is ${number(Math.floor(age / HOUR))} hours old.`);
    },
  },
  {
    name: "RecoBundleBehind",
    severity: "ticket",
    forS: 5 * MINUTE,
    expr: "reco_bundle_behind == 1",
    find: equal("reco_bundle_behind", 1, () => "The published bundle is another one than serves."),
  },
  {
    name: "RecoSwapFails",
    severity: "ticket",
    forS: 0,
    expr: `increase(reco_bundle_swaps_total{outcome="failed"}[15m]) > 0`,
    find: grew("reco_bundle_swaps_total", 15 * MINUTE, { outcome: "failed" }, () => "A new bundle could not be loaded."),
  },
  {
    name: "RecoRegistryAway",
    severity: "ticket",
    forS: 5 * MINUTE,
    expr: "reco_registry_away == 1",
    find: equal("reco_registry_away", 1, () => "The registry of bundles cannot be read."),
  },
  {
    name: "RecoBundleDamaged",
    severity: "page",
    forS: MINUTE,
    expr: "reco_bundle_damaged == 1",
    find: equal("reco_bundle_damaged", 1, () => "Files of the bundle that serves have changed or are damaged."),
  },
  {
    name: "RecoRolledBack",
    severity: "ticket",
    forS: 0,
    expr: `sum by (namespace) (increase(reco_bundle_rollbacks_total{outcome="done"}[1h])) > 0`,
    find: grew("reco_bundle_rollbacks_total", HOUR, { outcome: "done" }, () => "A bad bundle was rolled back automatically."),
  },
  {
    name: "RecoRollbackFails",
    severity: "page",
    forS: 0,
    expr: `sum by (namespace) (increase(reco_bundle_rollbacks_total{outcome="failed"}[15m])) > 0`,
    find: grew("reco_bundle_rollbacks_total", 15 * MINUTE, { outcome: "failed" }, () => "A bad bundle could not be rolled back."),
  },
  {
    name: "RecoGateRefuses",
    severity: "ticket",
    forS: 0,
    expr: `sum by (namespace, outcome) (increase(reco_bundle_gates_total{outcome=~"refused|failed"}[6h])) > 0`,
    find: grew("reco_bundle_gates_total", 6 * HOUR, { outcome: ["refused", "failed"] }, ({ outcome }) => `A bundle did not pass the gate (${outcome}).`),
  },
  {
    name: "RecoRecallLow",
    severity: "ticket",
    forS: MINUTE,
    expr: `min by (namespace) (reco_index_recall{at="20"}) < 0.95`,
    find: ({ latest }) => {
      const recall = valueOf(latest, "reco_index_recall", { at: "20" }) ?? 1;
      return when(recall < 0.95, `The index in use finds ${percent(recall)} of the results of exact search.`);
    },
  },
  {
    name: "RecoRecallSampledLow",
    severity: "ticket",
    forS: 15 * MINUTE,
    expr: `sum by (namespace) (increase(reco_recall_sampled_hits_total[6h]))
      / sum by (namespace) (increase(reco_recall_sampled_items_total[6h]))
      < reco:recall_floor - 3 * sqrt(
        reco:recall_floor * (1 - reco:recall_floor)
        / (sum by (namespace) (increase(reco_recall_samples_total{outcome="measured"}[6h])) > 100)
      )`,
    find: (h) => {
      const measured = grown(h, "reco_recall_samples_total", 6 * HOUR, { outcome: "measured" });
      const found = grown(h, "reco_recall_sampled_hits_total", 6 * HOUR) / grown(h, "reco_recall_sampled_items_total", 6 * HOUR);
      const floor = Math.max(valueOf(h.latest, "reco_index_promised_recall") ?? 0, 0.95);
      const low = measured > 100 && found < floor - 3 * Math.sqrt((floor * (1 - floor)) / measured);
      return when(low, `Sampled searches found ${percent(found)} of the results of exact search.`);
    },
  },
];
