/** Requests of this view, and the types of what they give. */
import { answer, api } from "../../api";

export function loadReport(name: string, phase: number | undefined) {
  const query = phase === undefined ? {} : { phase };
  return answer(api.GET("/experiments/{name}", { params: { path: { name }, query } }));
}

/** since: unix seconds. */
export function loadQuality(since: number) {
  return answer(api.GET("/quality", { params: { query: { since } } }));
}

/** The days from `since` on, in unix seconds. */
export async function loadDays(since: number) {
  return (await answer(api.GET("/quality", { params: { query: { since, by: "day" } } }))).days ?? [];
}

// Not those of Schemas: the client gives the two ends of an interval as a list.
export type Report = Awaited<ReturnType<typeof loadReport>>;
export type Arm = Report["arms"][number];
export type Experiment = Report["experiment"];
export type Comparison = Report["shadow"][number];
export type Quality = Awaited<ReturnType<typeof loadQuality>>;
export type Figures = Quality["overall"];
export type DayFigures = Awaited<ReturnType<typeof loadDays>>[number];
export type Exploration = NonNullable<Figures["exploration"]>;
