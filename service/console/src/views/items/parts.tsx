/** The parts of an item's embedding, as a bar of their lengths. */
import { number, percent } from "../../ui/format";
import { PartsBar, Swatch, wordsOf } from "../../ui/parts";

export function Parts({ norms }: { norms: Record<string, number> }) {
  const parts = Object.entries(norms).sort(([, one], [, other]) => other - one);
  const total = parts.reduce((sum, [, norm]) => sum + norm, 0);
  return (
    <section class="parts">
      <h2>Its parts</h2>
      {parts.length === 0 ? (
        <p class="muted">The bundle that serves has no embedding for it yet.</p>
      ) : (
        <>
          <p class="muted">How long each part of its embedding is: a longer one weighs more in its scores.</p>
          <PartsBar shares={parts} />
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
                <tr key={name}>
                  <th scope="row">
                    <Swatch part={name} /> {wordsOf(name)} <code>{name}</code>
                  </th>
                  <td class="number">{number(norm)}</td>
                  <td class="number">{percent(total > 0 ? norm / total : 0)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </>
      )}
    </section>
  );
}
