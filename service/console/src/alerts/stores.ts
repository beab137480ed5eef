/** The alerts of experiments, retraining, events, items and Redis. */
import { type Alert, HOUR, MINUTE, equal, grew, grown, when } from "./finding.ts";
import { seriesOf, valueOf } from "../prometheus.ts";
import { percent } from "../ui/format.ts";

export const STORES: readonly Alert[] = [
  {
    name: "RecoArmUnavailable",
    severity: "ticket",
    forS: 5 * MINUTE,
    expr: "reco_arm_unavailable == 1",
    find: equal("reco_arm_unavailable", 1, ({ arm, experiment }) => `Arm ${arm} of ${experiment} cannot serve; its users get the control.`),
  },
  {
    name: "RecoArmEnded",
    severity: "ticket",
    forS: 0,
    expr: "max by (namespace, experiment, arm) (reco_arm_ended) == 1",
    find: equal("reco_arm_ended", 1, ({ arm, experiment }) => `Arm ${arm} of ${experiment} has ended; its users get the control.`),
  },
  {
    name: "RecoSampleRatio",
    severity: "ticket",
    forS: 10 * MINUTE,
    expr: "min by (namespace, experiment) (reco_experiment_sample_ratio_p) < 0.001",
    find: ({ latest }) =>
      seriesOf(latest, "reco_experiment_sample_ratio_p")
        .filter(({ value }) => value < 0.001)
        .map(({ labels }) => `The users of ${labels.experiment} do not fall into its arms by weight.`),
  },
  {
    name: "RecoRetrainingFails",
    severity: "ticket",
    forS: 0,
    expr: `sum by (namespace) (increase(reco_retrain_jobs_total{state="failed"}[6h])) > 0`,
    find: grew("reco_retrain_jobs_total", 6 * HOUR, { state: "failed" }, () => "A retraining failed; the bundle in use stays."),
  },
  {
    name: "RecoRetrainingStuck",
    severity: "ticket",
    forS: 6 * HOUR,
    expr: "max by (namespace) (reco_retrain_running) == 1",
    find: equal("reco_retrain_running", 1, () => "A retraining is running."),
  },
  {
    name: "RecoEventsRefused",
    severity: "page",
    forS: 2 * MINUTE,
    expr: `sum by (namespace) (rate(reco_events_refused_total{reason="event_log_unavailable"}[5m])) > 0`,
    find: grew("reco_events_refused_total", 5 * MINUTE, { reason: "event_log_unavailable" }, (_, by) => `The event log is unavailable; ${by} events were refused.`),
  },
  {
    name: "RecoItemsRefused",
    severity: "page",
    forS: 2 * MINUTE,
    expr: `sum by (namespace) (rate(reco_items_refused_total{reason=~"item_store_unavailable|too_many_items"}[5m])) > 0`,
    find: grew("reco_items_refused_total", 5 * MINUTE, { reason: ["item_store_unavailable", "too_many_items"] }, (_, by) => `The item store takes no more; ${by} items were refused.`),
  },
  {
    name: "RecoEventsWait",
    severity: "ticket",
    forS: 2 * MINUTE,
    expr: `max by (namespace, instance) (reco_events_waiting / ignoring (of) reco_limit{of="events_waiting"}) > 0.5
      or sum by (namespace, instance) (rate(reco_events_refused_total{reason="overloaded"}[5m])) > 0`,
    find: (h) => {
      const limit = valueOf(h.latest, "reco_limit", { of: "events_waiting" }) ?? Infinity;
      const waiting = (valueOf(h.latest, "reco_events_waiting") ?? 0) / limit;
      const refused = grown(h, "reco_events_refused_total", 5 * MINUTE, { reason: "overloaded" });
      return when(waiting > 0.5 || refused > 0, "More events arrive than the log can write.");
    },
  },
  {
    name: "RecoEventsNotFelt",
    severity: "ticket",
    forS: 5 * MINUTE,
    expr: "reco_live_hears == 0",
    find: equal("reco_live_hears", 0, () => "New events cannot be read; responses ignore them."),
  },
  {
    name: "RecoDiskFills",
    severity: "ticket",
    forS: 15 * MINUTE,
    expr: `reco_disk_free_ratio < 0.1
      or (reco_disk_free_ratio < 0.5 and predict_linear(reco_disk_free_ratio[6h], 24 * 3600) < 0)`,
    find: ({ latest }) => // the forecast of the second line needs Prometheus
      seriesOf(latest, "reco_disk_free_ratio")
        .filter(({ value }) => value < 0.1)
        .map(({ value }) => `The disk under the event log is ${percent(value)} free.`),
  },
  {
    name: "RecoRedisAway",
    severity: "ticket",
    forS: 5 * MINUTE,
    expr: `avg_over_time(reco_redis_circuit{state="closed"}[5m]) < 0.5`,
    find: (h) => {
      const closed = h.seen(5 * MINUTE).samples.map((one) => valueOf(one, "reco_redis_circuit", { state: "closed" }));
      const known = closed.filter((value) => value !== null);
      const mean = known.reduce((sum, value) => sum + value, 0) / known.length; // NaN without Redis
      return when(mean < 0.5, "The circuit to Redis is open.");
    },
  },
];
