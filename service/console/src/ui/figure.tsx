/** Figures side by side, each with its name and what it is of. */
import type { ComponentChildren } from "preact";
import "./figure.css";

export function Figures({ children }: { children: ComponentChildren }) {
  return <dl class="figures">{children}</dl>;
}

export function Figure({ name, children, note }: { name: string; children: ComponentChildren; note?: string }) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd>
        <strong>{children}</strong>
        {note && <span class="muted">{note}</span>}
      </dd>
    </div>
  );
}
