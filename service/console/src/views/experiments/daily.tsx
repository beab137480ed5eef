/** Click-through by day, drawn; the numbers are in a table behind it. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useLoaded } from "../../api";
import { NOTHING, localDay, number, percent } from "../../ui/format";
import { Await } from "../../ui/notice";
import { DAYS, type Day, clickThroughByDay } from "./by-day";

export function Daily() {
  const loaded = useLoaded(() => clickThroughByDay(), []);
  return (
    <section class="panel">
      <h2>
        Click-through by day <span class="muted">of the last {DAYS} days, with 95% intervals</span>
      </h2>
      <Await loaded={loaded}>
        {(days) =>
          days.every(({ rate }) => rate === null) ? (
            <p class="muted">No list was shown in these days.</p>
          ) : (
            <>
              <Chart days={days} />
              <DayTable days={days} />
            </>
          )
        }
      </Await>
    </section>
  );
}

function DayTable({ days }: { days: Day[] }) {
  return (
    <details>
      <summary>The numbers</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="Click-through by day">
        <table>
          <thead>
            <tr>
              <th scope="col">Day</th>
              <th scope="col" class="number">
                Items shown
              </th>
              <th scope="col" class="number">
                Clicks
              </th>
              <th scope="col" class="number">
                Click-through
              </th>
              <th scope="col">95% interval</th>
            </tr>
          </thead>
          <tbody>
            {days.toReversed().map(({ at, shown, clicks, rate, interval }) => (
              <tr key={at}>
                <th scope="row">{localDay(at)}</th>
                <td class="number">{number(shown)}</td>
                <td class="number">{number(clicks)}</td>
                <td class="number">{percent(rate)}</td>
                <td>{interval === null ? NOTHING : `${percent(interval[0])} to ${percent(interval[1])}`}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

const HEIGHT = 240;

function Chart({ days }: { days: Day[] }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    let chart: uPlot | null = null;
    const draw = () => {
      chart?.destroy();
      chart = new uPlot(options(element), dataOf(days), element);
    };
    draw();
    const resized = new ResizeObserver(() => chart?.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    const scheme = matchMedia("(prefers-color-scheme: dark)"); // a canvas does not follow it by itself
    scheme.addEventListener("change", draw);
    return () => {
      resized.disconnect();
      scheme.removeEventListener("change", draw);
      chart?.destroy();
    };
  }, [days]);
  const shown = days.filter(({ rate }) => rate !== null);
  const rates = shown.map(({ rate }) => rate ?? 0);
  const words = `Click-through by day: ${percent(Math.min(...rates))} to ${percent(Math.max(...rates))} on ${shown.length} days`;
  return <div ref={box} class="chart" role="img" aria-label={words} />;
}

function dataOf(days: Day[]): uPlot.AlignedData {
  return [
    days.map(({ at }) => at),
    days.map(({ interval }) => interval?.[0] ?? null),
    days.map(({ interval }) => interval?.[1] ?? null),
    days.map(({ rate }) => rate),
  ];
}

function options(element: HTMLElement): uPlot.Options {
  const { color, borderTopColor: line, outlineColor: accent } = getComputedStyle(element); // see .chart
  const axis = { stroke: color, grid: { stroke: line, width: 1 }, ticks: { show: false } };
  const edge = { stroke: "transparent", points: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: true }, y: { range: (_, __, most) => [0, most * 1.1 || 1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 32, values: (_, ats) => ats.map((at) => localDay(at)), space: 90, incrs: [86_400, 172_800, 345_600] },
      { ...axis, values: (_, rates) => rates.map((rate) => percent(rate)), size: 60 },
    ],
    series: [{}, edge, edge, { stroke: accent, width: 2, points: { show: true, size: 7, fill: accent } }],
    bands: [{ series: [2, 1], fill: accent.replace(/^rgb\((.*)\)$/, "rgba($1, 0.18)") }],
  };
}
