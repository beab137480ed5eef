/** The canvas with the map: pan and zoom by mouse, touch and keyboard, items under the pointer, a user's items on top. */
import type { RefObject } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { goTo } from "../../route";
import { type Camera, type Size, WHOLE, panned, toStage, zoomed } from "./camera";
import { ItemCard } from "./item-card";
import { drawPerson } from "./overlay";
import type { Person } from "./person";
import { type Points, type Rgb, nearest, paint, radius } from "./points";

const STEP = 60; // pixels an arrow key moves
const FACTOR = 1.5; // of a key or button that zooms
const NEAR = 12; // pixels from an item that count as on it
const DRAGGED = 4; // pixels after which a press is no click
const ARROWS: Record<string, readonly [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

let lastCamera = WHOLE; // for the way back from an item

interface Props {
  points: Points;
  nameOf: (index: number) => string; // the group of an item
  off: ReadonlySet<number>;
  person: Person | null;
  lines: boolean;
  label: string;
}

export function Stage({ points, nameOf, off, person, lines, label }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [camera, setCamera] = useState<Camera>(lastCamera);
  lastCamera = camera;
  const [size, setSize] = useState<Size>({ width: 0, height: 0 });
  const [chosen, setChosen] = useState(-1);
  const look = useLook(canvas);
  const pressed = useRef(new Map<number, [number, number]>());
  const moved = useRef(0);

  useEffect(() => {
    const watched = canvas.current;
    if (watched === null) return;
    const observer = new ResizeObserver(() => setSize({ width: watched.clientWidth, height: watched.clientHeight }));
    observer.observe(watched);
    return () => observer.disconnect();
  }, []);
  useEffect(() => setChosen(-1), [points, off]);

  useEffect(() => {
    const frame = requestAnimationFrame(() => {
      if (canvas.current !== null && size.width > 0 && look !== null)
        draw(canvas.current, { points, camera, size, off, person, lines, chosen, look });
    });
    return () => cancelAnimationFrame(frame);
  }, [points, camera, size, off, person, lines, chosen, look]);

  const under = useCallback(
    (at: readonly [number, number]) => nearest(points, camera, size, off, at, NEAR),
    [points, camera, size, off],
  );

  // Preact would add it as passive, which could not keep the page from scrolling.
  useEffect(() => {
    const listening = canvas.current;
    if (listening === null) return;
    const onWheel = (event: WheelEvent) => {
      event.preventDefault();
      const at = [event.offsetX, event.offsetY] as const;
      setCamera((before) => zoomed(before, size, Math.exp(-event.deltaY / 400), at));
    };
    listening.addEventListener("wheel", onWheel, { passive: false });
    return () => listening.removeEventListener("wheel", onWheel);
  }, [size]);

  const onPointerDown = (event: PointerEvent) => {
    canvas.current?.setPointerCapture(event.pointerId);
    pressed.current.set(event.pointerId, [event.offsetX, event.offsetY]);
    moved.current = 0;
  };
  const onPointerMove = (event: PointerEvent) => {
    const before = pressed.current.get(event.pointerId);
    if (before === undefined) return setChosen(under([event.offsetX, event.offsetY]));
    const now: [number, number] = [event.offsetX, event.offsetY];
    const others = [...pressed.current].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    pressed.current.set(event.pointerId, now);
    moved.current += Math.hypot(now[0] - before[0], now[1] - before[1]);
    const other = others[0];
    if (other === undefined) setCamera((last) => panned(last, size, now[0] - before[0], now[1] - before[1]));
    else {
      const factor = Math.hypot(now[0] - other[0], now[1] - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1]));
      setCamera((last) => zoomed(last, size, factor, [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]));
    }
  };
  const onPointerUp = (event: PointerEvent) => {
    if (!pressed.current.delete(event.pointerId) || moved.current > DRAGGED || event.type === "pointercancel") return;
    const found = under([event.offsetX, event.offsetY]);
    setChosen(found);
    if (found >= 0 && event.pointerType !== "touch") open(found); // a finger sees the card first, and its link
  };

  const open = (index: number) => {
    const id = points.ids[index];
    if (id !== undefined) goTo("items", id);
  };
  const placeOf = (index: number) => toStage(camera, size, points.x[index] ?? 0, points.y[index] ?? 0);
  const onKeyDown = (event: KeyboardEvent) => {
    const arrow = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow && event.shiftKey) choose(arrow);
    else if (arrow) setCamera((last) => panned(last, size, -arrow[0] * STEP, -arrow[1] * STEP));
    else if (event.key === "+" || event.key === "=") setCamera((last) => zoomed(last, size, FACTOR));
    else if (event.key === "-") setCamera((last) => zoomed(last, size, 1 / FACTOR));
    else if (event.key === "0") setCamera(WHOLE);
    else if (event.key === "Escape") setChosen(-1);
    else if (event.key === "Enter") chosen >= 0 ? open(chosen) : choose();
    else return;
    event.preventDefault();
  };
  const choose = (towards?: readonly [number, number]) => {
    const from: [number, number] = chosen >= 0 ? placeOf(chosen) : [size.width / 2, size.height / 2];
    const found = nearest(points, camera, size, off, from, Infinity, chosen >= 0 ? towards : undefined);
    if (found < 0) return;
    setChosen(found);
    const [x, y] = placeOf(found);
    if (x < 0 || y < 0 || x > size.width || y > size.height)
      setCamera((last) => ({ ...last, x: points.x[found] ?? 0.5, y: points.y[found] ?? 0.5 }));
  };

  const id = points.ids[chosen];
  return (
    <div class="map-stage">
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-label={label}
        aria-describedby="map-help"
        class={chosen >= 0 ? "pointing" : ""}
        onPointerDown={onPointerDown}
        onPointerMove={onPointerMove}
        onPointerUp={onPointerUp}
        onPointerCancel={onPointerUp}
        onPointerLeave={(event) => event.pointerType !== "touch" && setChosen(-1)}
        onKeyDown={onKeyDown}
      />
      <div class="map-buttons">
        <button type="button" aria-label="Zoom in" onClick={() => setCamera((last) => zoomed(last, size, FACTOR))}>
          +
        </button>
        <button type="button" aria-label="Zoom out" onClick={() => setCamera((last) => zoomed(last, size, 1 / FACTOR))}>
          −
        </button>
        <button type="button" aria-label="All of the map" onClick={() => setCamera(WHOLE)}>
          All
        </button>
      </div>
      {id !== undefined && (
        <ItemCard id={id} group={nameOf(chosen)} right={placeOf(chosen)[0] < size.width / 2} />
      )}
    </div>
  );
}

/** The colours to draw with, read again when the system's change. */
function useLook(canvas: RefObject<HTMLCanvasElement | null>): Look | null {
  const [look, setLook] = useState<Look | null>(null);
  useEffect(() => {
    const read = () => canvas.current && setLook(lookOf(canvas.current));
    read();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", read);
    return () => dark.removeEventListener("change", read);
  }, []);
  return look;
}

interface Shown {
  points: Points;
  camera: Camera;
  size: Size;
  off: ReadonlySet<number>;
  person: Person | null;
  lines: boolean;
  chosen: number;
  look: Look;
}

let image: ImageData | null = null; // of the last frame: a new one for each would be megabytes of garbage

function draw(canvas: HTMLCanvasElement, shown: Shown): void {
  const begun = performance.now();
  const { points, camera, size, chosen, look } = shown;
  const ratio = devicePixelRatio;
  const [width, height] = [Math.round(size.width * ratio), Math.round(size.height * ratio)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  if (context === null) return;
  if (image?.width !== width || image.height !== height) image = context.createImageData(width, height);
  paint(image, ratio, points, camera, size, look.palette, look.page, shown.off);
  context.putImageData(image, 0, 0);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const ink = `rgb(${look.ink.join()})`;
  if (shown.person)
    drawPerson(context, shown.person, camera, size, { ink, page: `rgb(${look.page.join()})`, lines: shown.lines });
  if (chosen >= 0) {
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(...toStage(camera, size, points.x[chosen] ?? 0, points.y[chosen] ?? 0), radius(points.ids.length, camera) + 4, 0, 7);
    context.stroke();
  }
  performance.clearMeasures("map-frame"); // only the last one is kept
  performance.measure("map-frame", { start: begun });
}

interface Look {
  palette: Rgb[]; // of the legend
  page: Rgb;
  ink: Rgb;
}

/** The colours of the style sheet, which follow the system's. */
function lookOf(canvas: HTMLCanvasElement): Look {
  const swatches = [...(document.getElementById("map-palette")?.children ?? [])];
  const { backgroundColor, color } = getComputedStyle(canvas);
  return { palette: swatches.map((one) => rgb(getComputedStyle(one).backgroundColor)), page: rgb(backgroundColor), ink: rgb(color) };
}

function rgb(colour: string): Rgb {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map(Number);
  return [red, green, blue];
}
