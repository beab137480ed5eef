/** Numbers and times as people read them. */

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const THREE_DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const UNITS: readonly (readonly [string, number])[] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** 12,345 for whole numbers and those from a thousand on; else three significant digits. */
export function asNumber(value: number): string {
  return Number.isInteger(value) || Math.abs(value) >= 1_000 ? WHOLE.format(value) : THREE_DIGITS.format(value);
}

export function asPercent(share: number): string {
  return Number.isNaN(share) ? "none yet" : `${THREE_DIGITS.format(share * 100)}%`;
}

/** "2 hours", "1 minute", "12 seconds". */
export function asDuration(seconds: number): string {
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? ["second", 1];
  const count = Math.floor(seconds / size);
  return `${WHOLE.format(count)} ${unit}${count === 1 ? "" : "s"}`;
}

/** A unix time in the reader's zone, and how long ago that is. */
export function asTime(unixS: number): string {
  const ago = Date.now() / 1000 - unixS;
  const local = new Date(unixS * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  return `${local} (${ago < 1 ? "now" : `${asDuration(ago)} ago`})`;
}

/** "1 user", "2,000 users". */
export function counted(count: number, one: string, several = `${one}s`): string {
  return `${asNumber(count)} ${count === 1 ? one : several}`;
}
