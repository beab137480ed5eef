/** Numbers, sizes, durations and times as the console writes them: 3 significant digits, thousands separated. */

export const NOTHING = "–"; // in place of a value that there is not

type Maybe = number | null | undefined; // one that is not a number is nothing too, such as a share of nothing

const THREE_DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumSignificantDigits: 3 });
const SIGNED_PERCENT = new Intl.NumberFormat("en", {
  style: "percent",
  maximumSignificantDigits: 3,
  signDisplay: "exceptZero",
});
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const LOCAL_DAY = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });

function isThere(value: Maybe): value is number {
  return value !== null && value !== undefined && !Number.isNaN(value);
}

/** The value with a real minus, which is as wide as a plus. */
function write(format: Intl.NumberFormat, value: Maybe): string {
  return isThere(value) ? format.format(value).replace("-", "−") : NOTHING;
}

/** 1,234,567 and 1,235 and 12.3 and 0.00123: whole from 1,000 on, else 3 significant digits. */
export function number(value: Maybe): string {
  const isWhole = isThere(value) && (Number.isInteger(value) || Math.abs(value) >= 1_000);
  return write(isWhole ? WHOLE : THREE_DIGITS, value);
}

/** A contribution: +0.0331, −2. */
export function signed(value: Maybe): string {
  return (isThere(value) && value > 0 ? "+" : "") + number(value);
}

/** 0.0612 as 6.12%. */
export function percent(share: Maybe): string {
  return write(PERCENT, share);
}

/** A difference: 0.0612 as +6.12%. */
export function signedPercent(share: Maybe): string {
  return write(SIGNED_PERCENT, share);
}

/** 1 user, 2,000 users. */
export function counted(count: number, one: string, several = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : several}`;
}

/** 12.3 MB. */
export function bytes(n: Maybe): string {
  if (!isThere(n)) return NOTHING;
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = n < 1_000 ? 0 : Math.min(Math.floor(Math.log10(n) / 3), units.length - 1);
  return `${number(n / 1_000 ** step)} ${units[step]}`;
}

/** 12 ms, 1.23 s, 4 min 5 s, 2 h 3 min, 3 d 4 h. */
export function seconds(s: Maybe): string {
  if (!isThere(s)) return NOTHING;
  if (s < 1) return `${THREE_DIGITS.format(s * 1_000)} ms`;
  if (s < 60) return `${THREE_DIGITS.format(s)} s`;
  const [large, small, size, part] = s < 3_600 ? ["min", "s", 60, 1] : s < 86_400 ? ["h", "min", 3_600, 60] : ["d", "h", 86_400, 3_600];
  const parts = Math.round(s / part);
  const [whole, rest] = [Math.floor((parts * part) / size), ((parts * part) % size) / part];
  return rest === 0 ? `${whole} ${large}` : `${whole} ${large} ${rest} ${small}`;
}

export function milliseconds(ms: Maybe): string {
  return seconds(isThere(ms) ? ms / 1_000 : null);
}

/** A time as the service writes it: ISO 8601 text, or unix seconds. */
export type Moment = string | number | Date;

export function dateOf(moment: Moment): Date {
  return moment instanceof Date ? moment : new Date(typeof moment === "number" ? moment * 1_000 : moment);
}

/** The reader's own time: 30 Nov 2026, 18:33, or in the order that the browser's language has. */
export function localTime(moment: Moment): string {
  return LOCAL.format(dateOf(moment));
}

/** Mon 30 Nov. */
export function localDay(moment: Moment): string {
  return LOCAL_DAY.format(dateOf(moment));
}

/** 18:33:20. */
export function localClock(moment: Moment): string {
  return CLOCK.format(dateOf(moment));
}

/** 3 hours ago, in 2 minutes. */
export function relativeTime(moment: Moment, now: Date = new Date()): string {
  const s = (dateOf(moment).getTime() - now.getTime()) / 1_000;
  const steps = [["day", 86_400], ["hour", 3_600], ["minute", 60]] as const;
  for (const [unit, size] of steps) if (Math.abs(s) >= size) return RELATIVE.format(Math.trunc(s / size), unit);
  return Math.abs(s) < 1 ? "now" : RELATIVE.format(Math.trunc(s), "second");
}

/** A time in a sentence: 30 Nov 2026, 18:33 (3 hours ago). */
export function timeAndAge(moment: Moment): string {
  return `${localTime(moment)} (${relativeTime(moment)})`;
}

/** Who did something: the service calls one who sent no key "anybody". */
export function byWhom(name: string): string {
  return name === "anybody" ? "without a key" : `by ${name}`;
}
