/** Reads the text that /metrics answers, and what several such texts say of the time between them. */

export type Labels = Readonly<Record<string, string>>;

/** Chooses series by a label: its value, or one of several. */
export type Match = Readonly<Record<string, string | readonly string[] | ((value: string) => boolean)>>;

export interface Series {
  readonly labels: Labels;
  readonly value: number;
}

/** All metrics at one time, by name. */
export interface Sample {
  readonly timeS: number; // unix
  readonly metrics: ReadonlyMap<string, readonly Series[]>;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*$/;
const LABEL = /([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?\s*/gy;
const ESCAPED: Readonly<Record<string, string>> = { n: "\n", "\\": "\\", '"': '"' };

/** The metrics of a text that `wanted` chooses by name; lines that are none are left out. */
export function parseMetrics(text: string, timeS: number, wanted: (name: string) => boolean = () => true): Sample {
  const metrics = new Map<string, Series[]>();
  for (const line of text.split("\n")) {
    const [, name, labels = "", number] = line.startsWith("#") ? [] : (LINE.exec(line) ?? []);
    const value = asValue(number ?? "");
    if (name === undefined || value === null || !wanted(name)) continue;
    const family = metrics.get(name);
    const series = { labels: labelsOf(labels), value };
    if (family === undefined) metrics.set(name, [series]);
    else family.push(series);
  }
  return { timeS, metrics };
}

// The same labels are the same object in every sample: views keep hundreds of samples.
const byText = new Map<string, Labels>();
const byContent = new Map<string, Labels>();

function labelsOf(text: string): Labels {
  let labels = byText.get(text);
  if (labels === undefined) {
    const found = [...text.matchAll(LABEL)].map(([, name = "", value = ""]) => [name, unescape(value)] as const);
    const content = JSON.stringify([...found].sort());
    labels = byContent.get(content) ?? Object.fromEntries(found);
    byContent.set(content, labels);
    byText.set(text, labels);
  }
  return labels;
}

function unescape(value: string): string {
  return value.replace(/\\(.)/g, (whole, escaped: string) => ESCAPED[escaped] ?? whole);
}

function asValue(text: string): number | null {
  const infinite = /^([+-]?)Inf$/i.exec(text);
  if (infinite) return infinite[1] === "-" ? -Infinity : Infinity;
  if (/^nan$/i.test(text)) return NaN;
  return text === "" || Number.isNaN(Number(text)) ? null : Number(text);
}

export function seriesOf(sample: Sample, name: string, match: Match = {}): readonly Series[] {
  const all = sample.metrics.get(name) ?? [];
  const wanted = Object.entries(match);
  return wanted.length === 0 ? all : all.filter(({ labels }) => wanted.every(([label, one]) => fits(labels[label] ?? "", one)));
}

function fits(value: string, wanted: Match[string]): boolean {
  if (typeof wanted === "function") return wanted(value);
  return typeof wanted === "string" ? value === wanted : wanted.includes(value);
}

/** The value of the only series with this name; null where there is none. */
export function valueOf(sample: Sample, name: string, match: Match = {}): number | null {
  return seriesOf(sample, name, match)[0]?.value ?? null;
}

/** When the process that wrote the sample started, as unix time; 0 where it does not say. */
export function startOf(sample: Sample): number {
  return valueOf(sample, "process_start_time_seconds") ?? 0;
}

export interface Increase {
  readonly labels: Labels;
  readonly by: number;
}

/** By how much each series of a counter grew over the samples, oldest first.
 *
 * A counter that went back began at 0 again, as that of a restarted process. `fromZero`: what the first sample has
 * counts as well, for samples that begin with the process. */
export function increases(samples: readonly Sample[], name: string, match: Match = {}, fromZero = false): Increase[] {
  const grown = new Map<Labels, { labels: Labels; by: number; last: number }>();
  samples.forEach((sample, i) => {
    for (const { labels, value } of seriesOf(sample, name, match)) {
      const before = grown.get(labels);
      if (before === undefined) {
        grown.set(labels, { labels, by: i > 0 || fromZero ? value : 0, last: value });
      } else {
        before.by += value >= before.last ? value - before.last : value;
        before.last = value;
      }
    }
  });
  return [...grown.values()];
}

export function sumOf(found: readonly Increase[]): number {
  return found.reduce((sum, { by }) => sum + by, 0);
}

/** A quantile of a histogram, from the increases of its buckets: linear within a bucket; NaN where there are none.
 *
 * Above the last finite bound it is that bound, as in Prometheus. */
export function quantile(q: number, buckets: readonly Increase[]): number {
  const counts = new Map<number, number>();
  for (const { labels, by } of buckets) {
    const bound = asValue(labels.le ?? "");
    if (bound !== null) counts.set(bound, (counts.get(bound) ?? 0) + by);
  }
  const bounds = [...counts.keys()].sort((one, other) => one - other);
  const total = counts.get(Infinity) ?? 0;
  if (total === 0) return NaN;
  const rank = q * total;
  let [lower, below] = [0, 0];
  for (const bound of bounds) {
    const count = counts.get(bound) ?? 0;
    if (count >= rank && count > below)
      return bound === Infinity ? lower : lower + ((bound - lower) * (rank - below)) / (count - below);
    [lower, below] = [bound, count];
  }
  return NaN;
}
