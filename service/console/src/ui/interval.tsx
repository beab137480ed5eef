/** Rates with their intervals: a row each, the marks of all rows on one scale, the numbers beside. */
import type { ComponentChildren } from "preact";
import "./interval.css";
import { NOTHING } from "./format";

export interface IntervalRow {
  id: string;
  name: ComponentChildren;
  value: number | null | undefined;
  interval: readonly number[] | null | undefined; // both ends
  more?: ComponentChildren[]; // further cells
}

interface Scale {
  low: number;
  high: number;
  ticks: number[];
}

/** From a round number to a round number around all of these, with 2 to 6 ticks. */
export function scaleOf(values: readonly number[]): Scale {
  if (values.length === 0) return { low: 0, high: 1, ticks: [0, 1] };
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const range = most - least || Math.abs(most) || 1;
  const power = 10 ** Math.floor(Math.log10(range / 2));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => range / one <= 4) ?? 10 * power;
  const [first, last] = [Math.floor(least / step), Math.ceil(most / step)];
  const ticks = Array.from({ length: Math.max(last - first, 1) + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return { low: ticks[0] ?? 0, high: ticks.at(-1) ?? 1, ticks };
}

/** The interval as a line, the value as a dot on it, and the reference as a dashed line through all rows. */
function IntervalMark({ row, scale, reference }: { row: IntervalRow; scale: Scale; reference: number | null | undefined }) {
  const at = (value: number) => `${(2 + (96 * (value - scale.low)) / (scale.high - scale.low)).toFixed(2)}%`;
  const [low, high] = row.interval ?? [];
  return (
    <svg class="interval-mark" aria-hidden="true">
      {scale.ticks.map((tick) => (
        <line key={tick} class="tick" x1={at(tick)} x2={at(tick)} y1="0" y2="100%" />
      ))}
      {typeof reference === "number" && <line class="reference" x1={at(reference)} x2={at(reference)} y1="0" y2="100%" />}
      {low !== undefined && high !== undefined && <line class="range" x1={at(low)} x2={at(high)} y1="50%" y2="50%" />}
      {typeof row.value === "number" && <circle cx={at(row.value)} cy="50%" r="5" />}
    </svg>
  );
}

interface Given {
  title: string; // of the table; also the name of its region, which may scroll
  first: string; // what a row is: "arm"
  rows: IntervalRow[];
  format: (value: number | null | undefined) => string;
  level?: string; // of the intervals
  more?: string[]; // titles of further columns
  reference?: number | null | undefined;
}

export function IntervalTable({ title, first, rows, format, level = "95%", more = [], reference }: Given) {
  const scale = scaleOf(rows.flatMap(({ value, interval }) => [value, ...(interval ?? [])]).filter((one) => typeof one === "number"));
  const written = (ends: IntervalRow["interval"]) => (ends ? `${format(ends[0])} to ${format(ends[1])}` : NOTHING);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={title}>
      <table class="intervals">
        <caption class="hidden-text">{title}</caption>
        <thead>
          <tr>
            <th scope="col">{first}</th>
            <th aria-hidden="true" class="axis">
              <div>
                <span>{format(scale.low)}</span>
                <span>{format(scale.high)}</span>
              </div>
            </th>
            <th scope="col" class="number">
              Value
            </th>
            <th scope="col" class="ends">
              {level} interval
            </th>
            {more.map((one) => (
              <th key={one} scope="col">
                {one}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.id}>
              <th scope="row">{row.name}</th>
              <td aria-hidden="true" class="interval-mark">
                <IntervalMark row={row} scale={scale} reference={reference} />
              </td>
              <td class="number">{format(row.value)}</td>
              <td class="ends">{written(row.interval)}</td>
              {row.more?.map((cell, i) => <td key={i}>{cell}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
