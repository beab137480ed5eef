/** The parts of a score or an embedding: their names in words, their colours, and a bar of their shares. */
import "./parts.css";

const COLOURED = new Set(["id", "text", "image", "multimodal", "anchor"]);
const WORDS: Record<string, string> = {
  fused: "The whole embedding", // a space, not a part
  id: "Who had it",
  text: "Words",
  image: "Looks",
  multimodal: "Words and looks as one",
  anchor: "Anchor: items like it",
  rules: "Rules",
};

/** `image` as "Looks"; an unknown one as it is. */
export function wordsOf(part: string): string {
  return WORDS[part] ?? part;
}

function colourOf(part: string): string {
  return `var(--part-${COLOURED.has(part) ? part : "other"})`;
}

/** The colour of a part, beside its name. */
export function Swatch({ part }: { part: string }) {
  return <span class="swatch" style={{ background: colourOf(part) }} aria-hidden="true" />;
}

/** A stacked bar: negative shares left of a mark, positive ones right of it. The numbers stand in a table beside it. */
export function PartsBar({ shares }: { shares: readonly (readonly [part: string, share: number])[] }) {
  const negative = shares.filter(([, share]) => share < 0);
  const positive = shares.filter(([, share]) => share > 0);
  const width = shares.reduce((sum, [, share]) => sum + Math.abs(share), 0);
  const segment = ([part, share]: readonly [string, number]) => (
    <span key={part} class="segment" style={{ width: `${(100 * Math.abs(share)) / width}%`, background: colourOf(part) }} />
  );
  return (
    <div class="parts-bar" aria-hidden="true">
      {negative.map(segment)}
      {negative.length > 0 && <span class="zero" />}
      {positive.map(segment)}
    </div>
  );
}
