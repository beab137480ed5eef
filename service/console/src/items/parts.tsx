/** The parts of an item's embedding, as a bar of their lengths. */
import { number, percent } from "../ui/format";

const COLOURED = new Set(["id", "text", "image", "multimodal", "anchor"]);

export function colourOf(part: string): string {
  return `var(--part-${COLOURED.has(part) ? part : "other"})`;
}

export function Parts({ norms }: { norms: Record<string, number> }) {
  const parts = Object.entries(norms).sort(([, one], [, other]) => other - one);
  const total = parts.reduce((sum, [, norm]) => sum + norm, 0);
  return (
    <section class="panel">
      <h2>Its parts</h2>
      {parts.length === 0 ? (
        <p class="muted">The bundle that serves has no embedding for it yet.</p>
      ) : (
        <>
          <p class="muted">How long each part of its embedding is: a longer one weighs more in its scores.</p>
          <div class="bar-of-parts" aria-hidden="true">
            {parts.map(([name, norm]) => (
              <span style={{ flexGrow: (100 * norm) / total, background: colourOf(name) }} />
            ))}
          </div>
          <table>
            <thead>
              <tr>
                <th scope="col">Part</th>
                <th scope="col" class="number">
                  Length
                </th>
                <th scope="col" class="number">
                  Share
                </th>
              </tr>
            </thead>
            <tbody>
              {parts.map(([name, norm]) => (
                <tr>
                  <th scope="row">
                    <span class="swatch" style={{ background: colourOf(name) }} aria-hidden="true" /> {name}
                  </th>
                  <td class="number">{number(norm)}</td>
                  <td class="number">{total > 0 ? percent(norm / total) : "0%"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </>
      )}
    </section>
  );
}
