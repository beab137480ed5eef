/** A user's past items and list, drawn on the map. */
import { type Camera, type Size, toStage } from "./camera";
import type { Person } from "./person";

interface Look {
  ink: string;
  page: string;
  lines: boolean;
}

/** Past items are squares, those of the list circles with their ranks; the best lies on top. */
export function drawPerson(context: CanvasRenderingContext2D, person: Person, camera: Camera, size: Size, look: Look): void {
  const at = (place: readonly [number, number]) => toStage(camera, size, ...place);
  const past = new Map(person.past.map(({ id, place }) => [id, place]));
  context.lineWidth = 1.5;
  context.strokeStyle = look.ink;
  if (look.lines)
    for (const { place, because } of person.list)
      for (const from of because.map((id) => past.get(id)))
        if (place && from) {
          context.globalAlpha = 0.45;
          context.beginPath();
          context.moveTo(...at(from));
          context.lineTo(...at(place));
          context.stroke();
        }
  context.globalAlpha = 1;
  for (const { place } of person.past) {
    if (place === null) continue;
    const [x, y] = at(place);
    context.fillStyle = look.page;
    context.fillRect(x - 6, y - 6, 12, 12);
    context.strokeRect(x - 6, y - 6, 12, 12);
    context.fillStyle = look.ink;
    context.fillRect(x - 3, y - 3, 6, 6);
  }
  context.font = "600 11px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let i = person.list.length - 1; i >= 0; i--) {
    const place = person.list[i]?.place;
    if (!place) continue;
    const [x, y] = at(place);
    context.beginPath();
    context.arc(x, y, 10, 0, 2 * Math.PI);
    context.fillStyle = look.ink;
    context.fill();
    context.strokeStyle = look.page;
    context.stroke();
    context.fillStyle = look.page;
    context.fillText(String(i + 1), x, y + 0.5);
  }
}
