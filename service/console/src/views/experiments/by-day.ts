/** Click-through of each of the last days. */
import { type DayFigures, loadDays } from "./loading";

export const DAYS = 14;
const DAY_S = 86_400;

export interface Day {
  at: number; // the reader's midnight that it began at, in unix seconds
  shown: number;
  clicks: number;
  rate: number | null; // null: nothing was shown
  interval: readonly number[] | null; // both ends
}

function midnightOf(time: Date): number {
  return new Date(time.getFullYear(), time.getMonth(), time.getDate()).getTime() / 1_000;
}

/** Days of 24 hours that end at today's midnight: where a clock changed meanwhile, those before begin an hour off theirs. */
export async function clickThroughByDay(now = new Date()): Promise<Day[]> {
  const days = await loadDays(midnightOf(now) - (DAYS - 1) * DAY_S);
  return days.map(dayOf);
}

function dayOf({ since, items_shown, clicks, click_through_rate, click_through_interval }: DayFigures): Day {
  const middle = new Date((since + DAY_S / 2) * 1_000);
  return { at: midnightOf(middle), shown: items_shown, clicks, rate: click_through_rate, interval: click_through_interval ?? null };
}
