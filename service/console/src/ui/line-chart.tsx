/** A chart of lines over time, with a sentence that says the same to those who do not see it. */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { localClock } from "./format";
import "./line-chart.css";

export interface Line {
  label: string;
  colour: string; // a custom property of style.css, such as --good
  values: readonly (number | null)[];
}

interface Props {
  title: string;
  sentence: string; // what the chart shows, in words
  times: readonly number[]; // unix seconds
  lines: readonly Line[];
  asText: (value: number) => string;
}

const HEIGHT = 190;
const LEAST_S = 60; // that the axis of time spans: few samples do not stretch over all of it

export function LineChart({ title, sentence, times, lines, asText }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const scheme = useScheme();
  const data = [[...times], ...lines.map(({ values }) => [...values])] as uPlot.AlignedData;
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    plot.current = new uPlot(options(element, lines, asText), data, element);
    const watch = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [scheme, ...lines.map(({ label }) => label)]);
  useEffect(() => plot.current?.setData(data), [times, lines]);
  return (
    <figure class="line-chart">
      <figcaption>
        <h3>{title}</h3>
        <p class="muted">{sentence}</p>
        <p class="legend" aria-hidden="true">
          {lines.map(({ label, colour }) => (
            <span key={label}>
              <span class="line" style={{ background: `var(${colour})` }} /> {label}
            </span>
          ))}
        </p>
      </figcaption>
      <div ref={place} class="plot" aria-hidden="true" />
    </figure>
  );
}

/** "light" or "dark", as the reader's system says: a canvas does not follow it by itself. */
function useScheme(): string {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => {
    const follow = () => setDark(query.matches);
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, []);
  return dark ? "dark" : "light";
}

function options(element: HTMLElement, lines: readonly Line[], asText: (value: number) => string): uPlot.Options {
  const [text, grid] = [resolved(element, "--muted"), resolved(element, "--line")];
  const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui" };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { range: timesShown }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [
      { ...axis, values: (_, splits) => splits.map(localClock) },
      { ...axis, size: 64, values: (_, splits) => splits.map(asText) },
    ],
    series: [
      {},
      ...lines.map(({ label, colour }) => ({ label, stroke: resolved(element, colour), width: 2, points: { show: isAlone } })),
    ],
  };
}

/** A single sample makes no line: it is drawn as a point. */
function isAlone(plot: uPlot): boolean {
  return plot.data[0].length < 2;
}

/** From the first sample to the last: of one alone uPlot would show the day after it. */
function timesShown(plot: uPlot): uPlot.Range.MinMax {
  const times = plot.data[0];
  const last = times.at(-1) ?? 0;
  return [Math.min(times[0] ?? last, last - LEAST_S), last];
}

/** The colour that a custom property has here, which may depend on light or dark. */
function resolved(element: HTMLElement, property: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${property})`;
  element.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
