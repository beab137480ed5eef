/** The items of a map as arrays, and painting them pixel by pixel: a call of the canvas for each would be too slow. */
import type { Schemas } from "../../api";
import { type Camera, type Size, toStage, unit } from "./camera";

export const COLOURS = 10; // groups with a colour of their own; all others share one
export const OTHER = COLOURS;

export interface Points {
  ids: string[];
  x: Float32Array;
  y: Float32Array;
  colour: Uint8Array; // a group's place among the largest, or OTHER
}

export function pointsOf(map: Schemas["ItemMap"]): Points {
  return {
    ids: map.item_ids,
    x: Float32Array.from(map.x),
    y: Float32Array.from(map.y),
    colour: Uint8Array.from(map.group, (group) => (group < 0 || group >= COLOURS ? OTHER : group)),
  };
}

export type Rgb = readonly [number, number, number];

/** Paint all points whose colour is on; those that come first, the popular ones, lie on top. */
export function paint(
  image: ImageData,
  ratio: number,
  points: Points,
  camera: Camera,
  size: Size,
  palette: readonly Rgb[],
  page: Rgb,
  off: ReadonlySet<number>,
): void {
  new Uint32Array(image.data.buffer).fill((0xff << 24) | (page[2] << 16) | (page[1] << 8) | page[0]);
  const dot = dotOf(radius(points.ids.length, camera) * ratio);
  const [left, top] = toStage(camera, size, 0, 0);
  const pixels = unit(camera, size);
  const shown = palette.map((_, colour) => !off.has(colour));
  const { data, width, height } = image;
  for (let i = points.ids.length - 1; i >= 0; i--) {
    const colour = points.colour[i] ?? OTHER;
    const rgb = palette[colour];
    if (rgb === undefined || !shown[colour]) continue;
    const column = Math.round((left + (points.x[i] ?? 0) * pixels) * ratio) - dot.reach;
    const row = Math.round((top + (points.y[i] ?? 0) * pixels) * ratio) - dot.reach;
    if (column < 0 || row < 0 || column + dot.side > width || row + dot.side > height) continue;
    for (let k = 0; k < dot.cover.length; k++) {
      const cover = dot.cover[k] ?? 0;
      if (cover === 0) continue;
      const at = 4 * ((row + Math.floor(k / dot.side)) * width + column + (k % dot.side));
      data[at] = mixed(data[at] ?? 0, rgb[0], cover);
      data[at + 1] = mixed(data[at + 1] ?? 0, rgb[1], cover);
      data[at + 2] = mixed(data[at + 2] ?? 0, rgb[2], cover);
    }
  }
}

function mixed(below: number, above: number, cover: number): number {
  return below + ((above - below) * cover) / 255;
}

/** Of a dot in CSS pixels: smaller where there are many, larger when zoomed in. */
export function radius(n: number, camera: Camera): number {
  const whole = n > 10_000 ? 1.3 : n > 3_000 ? 1.8 : 2.6;
  return Math.min(whole * Math.sqrt(camera.zoom), 7);
}

interface Dot {
  side: number; // pixels of its square
  reach: number; // of the square, on each side of its middle
  cover: Uint8Array; // how much of each pixel it covers, 0 to 255
}

function dotOf(ofRadius: number): Dot {
  const reach = Math.ceil(ofRadius);
  const side = 2 * reach + 1;
  const cover = new Uint8Array(side * side);
  for (let k = 0; k < cover.length; k++) {
    const distance = Math.hypot((k % side) - reach, Math.floor(k / side) - reach);
    cover[k] = 235 * Math.min(1, Math.max(0, ofRadius - distance + 0.5)); // a little of what lies below shows
  }
  return { side, reach, cover };
}

/** The index of the shown point nearest to a pixel of the stage, at most `most` pixels away; -1: none.
 *
 * `towards` keeps only those in that direction from the pixel. */
export function nearest(
  points: Points,
  camera: Camera,
  size: Size,
  off: ReadonlySet<number>,
  at: readonly [number, number],
  most: number,
  towards?: readonly [number, number],
): number {
  const [left, top] = toStage(camera, size, 0, 0);
  const pixels = unit(camera, size);
  let [best, found] = [most * most, -1];
  for (let i = 0; i < points.ids.length; i++) {
    if (off.has(points.colour[i] ?? OTHER)) continue;
    const right = left + (points.x[i] ?? 0) * pixels - at[0];
    const down = top + (points.y[i] ?? 0) * pixels - at[1];
    if (towards) {
      const ahead = right * towards[0] + down * towards[1];
      if (ahead < 0.5 || Math.abs(right * towards[1] - down * towards[0]) > ahead) continue;
    }
    const distance = right * right + down * down;
    if (distance < best) [best, found] = [distance, i];
  }
  return found;
}
