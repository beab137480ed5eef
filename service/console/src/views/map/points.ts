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
  const { width, height } = image;
  const pixels = new Uint32Array(image.data.buffer);
  pixels.fill(packed(page));
  const dot = dotOf(radius(points.ids.length, camera) * ratio, width);
  const [left, top] = toStage(camera, size, 0, 0);
  const length = unit(camera, size);
  const last = [width - 1 - dot.reach, height - 1 - dot.reach] as const;
  const whole = palette.map((rgb, colour) => (off.has(colour) ? 0 : packed(rgb)));
  for (let i = points.ids.length - 1; i >= 0; i--) {
    const colour = points.colour[i]!;
    const value = whole[colour];
    if (!value) continue;
    const column = Math.round((left + points.x[i]! * length) * ratio);
    const row = Math.round((top + points.y[i]! * length) * ratio);
    if (column < dot.reach || row < dot.reach || column > last[0] || row > last[1]) continue;
    const middle = row * width + column;
    for (const offset of dot.inside) pixels[middle + offset] = value;
    const rgb = palette[colour]!;
    for (let k = 0; k < dot.edge.length; k++) {
      const at = middle + dot.edge[k]!;
      pixels[at] = mixed(pixels[at]!, rgb, dot.cover[k]!);
    }
  }
}

function packed([red, green, blue]: Rgb): number {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function mixed(below: number, above: Rgb, cover: number): number {
  const channel = (shift: number, value: number) => {
    const under = (below >>> shift) & 255;
    return under + (((value - under) * cover) >> 8);
  };
  return packed([channel(0, above[0]), channel(8, above[1]), channel(16, above[2])]);
}

/** Of a dot in CSS pixels: smaller where there are many, larger when zoomed in. */
export function radius(n: number, camera: Camera): number {
  const whole = n > 10_000 ? 1.3 : n > 3_000 ? 1.8 : 2.6;
  return Math.min(whole * Math.sqrt(camera.zoom), 7);
}

/** The pixels of a dot, as offsets from that of its middle in an image of this width. */
interface Dot {
  reach: number; // of its square, on each side of the middle
  inside: Int32Array;
  edge: Int32Array;
  cover: Uint8Array; // of 256, of each pixel of the edge
}

function dotOf(ofRadius: number, width: number): Dot {
  const reach = Math.ceil(ofRadius);
  const [inside, edge, cover]: [number[], number[], number[]] = [[], [], []];
  for (let down = -reach; down <= reach; down++)
    for (let right = -reach; right <= reach; right++) {
      const covered = ofRadius - Math.hypot(right, down) + 0.5;
      if (covered >= 1) inside.push(down * width + right);
      else if (covered > 0) {
        edge.push(down * width + right);
        cover.push(Math.round(255 * covered));
      }
    }
  return { reach, inside: Int32Array.from(inside), edge: Int32Array.from(edge), cover: Uint8Array.from(cover) };
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
