/** Which part of the map a stage shows. */

export interface Camera {
  x: number; // the middle of the stage, on the map
  y: number;
  zoom: number; // 1: the whole map fits
}

export interface Size {
  width: number; // CSS pixels
  height: number;
}

export const WHOLE: Camera = { x: 0.5, y: 0.5, zoom: 1 };
const MARGIN = 0.06; // of the stage, left free around the whole map
const MOST_ZOOM = 200;

/** CSS pixels of one unit of the map. */
export function unit(camera: Camera, size: Size): number {
  return Math.min(size.width, size.height) * (1 - MARGIN) * camera.zoom;
}

export function toStage(camera: Camera, size: Size, x: number, y: number): [number, number] {
  const pixels = unit(camera, size);
  return [size.width / 2 + (x - camera.x) * pixels, size.height / 2 + (y - camera.y) * pixels];
}

/** Moved by so many pixels; the middle stays on the map. */
export function panned(camera: Camera, size: Size, right: number, down: number): Camera {
  const pixels = unit(camera, size);
  return { ...camera, x: within(camera.x - right / pixels, 0, 1), y: within(camera.y - down / pixels, 0, 1) };
}

/** Zoomed by a factor, with what lies at this pixel staying there; without one, at the middle. */
export function zoomed(camera: Camera, size: Size, factor: number, at?: readonly [number, number]): Camera {
  const zoom = within(camera.zoom * factor, 1, MOST_ZOOM);
  const [right, down] = at ? [at[0] - size.width / 2, at[1] - size.height / 2] : [0, 0];
  const shift = 1 / unit(camera, size) - 1 / unit({ ...camera, zoom }, size);
  return { x: within(camera.x + right * shift, 0, 1), y: within(camera.y + down * shift, 0, 1), zoom };
}

function within(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
