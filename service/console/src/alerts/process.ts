/** The alerts of the process, its files and its tasks. */
import { type Alert, HOUR, MINUTE, PROBES, equal, grew, grown, when } from "./finding.ts";
import { type Labels, valueOf } from "../prometheus.ts";
import { percent } from "../ui/format.ts";

export const PROCESS: readonly Alert[] = [
  {
    name: "RecoSheds",
    severity: "ticket",
    forS: 5 * MINUTE,
    expr: `sum by (namespace) (rate(reco_errors_total{code="busy"}[5m]))
      / sum by (namespace) (rate(reco_requests_total{route!~"/healthz|/readyz|/metrics"}[5m])) > 0.01`,
    find: (h) => {
      const all = grown(h, "reco_requests_total", 5 * MINUTE, { route: (route) => !PROBES.includes(route) });
      const share = grown(h, "reco_errors_total", 5 * MINUTE, { code: "busy" }) / all;
      return when(share > 0.01, `${percent(share)} of all requests are refused because of overload.`);
    },
  },
  {
    name: "RecoMemoryNearLimit",
    severity: "ticket",
    forS: 10 * MINUTE,
    expr: "reco_memory_anonymous_bytes / reco_memory_limit_bytes > 0.85",
    find: ({ latest }) => {
      const limit = valueOf(latest, "reco_memory_limit_bytes") ?? Infinity;
      const share = (valueOf(latest, "reco_memory_anonymous_bytes") ?? 0) / limit;
      return when(share > 0.85, `${percent(share)} of the memory limit is in use.`);
    },
  },
  {
    name: "RecoFileRefused",
    severity: "ticket",
    forS: 0,
    expr: `increase(reco_api_key_reloads_total{outcome="refused"}[1h])
      + increase(reco_rules_reloads_total{outcome="refused"}[1h])
      + increase(reco_experiment_changes_total{outcome="refused"}[1h]) > 0`,
    find: (h) => {
      const files = { reco_api_key_reloads_total: "API keys", reco_rules_reloads_total: "rules", reco_experiment_changes_total: "experiments" };
      const refused = Object.entries(files).filter(([metric]) => grown(h, metric, HOUR, { outcome: "refused" }) > 0);
      return refused.map(([, file]) => `A changed file of ${file} was refused; what was in force stays.`);
    },
  },
  {
    name: "RecoBackgroundTaskFails",
    severity: "ticket",
    forS: 0,
    expr: "reco_background_task_up == 0 or increase(reco_background_task_failures_total[15m]) > 0",
    find: (h) => {
      const down = equal("reco_background_task_up", 0, ({ task }) => `The background task ${task} does not run.`)(h);
      const failed = ({ task }: Labels, by: number) => `The background task ${task} ended unexpectedly (${by}).`;
      return [...down, ...grew("reco_background_task_failures_total", 15 * MINUTE, {}, failed)(h)];
    },
  },
  {
    name: "RecoValuesUnreadable",
    severity: "ticket",
    forS: 0,
    expr: "increase(reco_unreadable_values_total[1h]) > 0",
    find: grew("reco_unreadable_values_total", HOUR, {}, ({ source }) => `Stored values (${source}) cannot be read.`),
  },
  {
    name: "RecoGpuFallback",
    severity: "ticket",
    forS: MINUTE,
    expr: "reco_index_fallbacks_total > 0",
    find: ({ latest }) =>
      when((valueOf(latest, "reco_index_fallbacks_total") ?? 0) > 0, "There is a GPU, but searches ran on the CPU."),
  },
  {
    name: "RecoMilvusFails",
    severity: "ticket",
    forS: 2 * MINUTE,
    expr: `sum by (instance) (increase(reco_milvus_searches_total{outcome!="done"}[5m]))
      > 0.5 * sum by (instance) (increase(reco_milvus_searches_total[5m]))`,
    find: (h) => {
      const bad = grown(h, "reco_milvus_searches_total", 5 * MINUTE, { outcome: (outcome) => outcome !== "done" });
      const all = grown(h, "reco_milvus_searches_total", 5 * MINUTE);
      return when(bad > 0.5 * all, "Most searches in Milvus fail.");
    },
  },
];
