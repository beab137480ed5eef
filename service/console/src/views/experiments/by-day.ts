/** Click-through of each of the last days, from windows of /quality that all end now. */
import { loadQuality } from "./loading";

export const DAYS = 14;
const Z = 1.959964; // 95%, as /quality has it

export interface Day {
  at: number; // the reader's midnight that it began at, in unix seconds
  shown: number;
  clicks: number;
  rate: number | null; // null: nothing was shown
  interval: [number, number] | null;
}

/** Wilson's interval of a share. */
export function wilson(hits: number, n: number): [number, number] {
  const share = hits / n;
  const middle = (share + (Z * Z) / (2 * n)) / (1 + (Z * Z) / n);
  const half = (Z / (1 + (Z * Z) / n)) * Math.sqrt((share * (1 - share)) / n + (Z * Z) / (4 * n * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

function midnights(now: Date): number[] {
  const day = (back: number) => new Date(now.getFullYear(), now.getMonth(), now.getDate() - back).getTime() / 1_000;
  return Array.from({ length: DAYS }, (_, i) => day(DAYS - 1 - i));
}

/** One request a day: an answer belongs to one time, so that a day is a window less the one that begins a day later. */
export async function clickThroughByDay(now = new Date()): Promise<Day[]> {
  const starts = midnights(now);
  const windows = (await Promise.all(starts.map(loadQuality))).map(({ overall }) => overall);
  return starts.map((at, i) => {
    const [own, later] = [windows[i], windows[i + 1]];
    const shown = Math.max(0, (own?.items_shown ?? 0) - (later?.items_shown ?? 0));
    const clicks = Math.min(shown, Math.max(0, (own?.clicks ?? 0) - (later?.clicks ?? 0)));
    return { at, shown, clicks, rate: shown > 0 ? clicks / shown : null, interval: shown > 0 ? wilson(clicks, shown) : null };
  });
}
