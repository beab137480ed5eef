/** The same request as a command and as Python, to copy. */
import { useEffect, useState } from "preact/hooks";
import { hasKey } from "../../api";
import { curlOf, pythonOf } from "./snippets";
import type { Wish } from "./wish";

const SHOWN_MS = 2_000;

export function SameRequest({ wish }: { wish: Wish }) {
  return (
    <section class="panel try-copy" aria-labelledby="same-request">
      <h2 id="same-request">The same request from elsewhere</h2>
      {hasKey() && (
        <p class="muted">
          Set <code>RECO_KEY</code> to your key first; this page shows it nowhere.
        </p>
      )}
      <Snippet name="curl" text={curlOf(wish)} />
      <Snippet name="Python" text={pythonOf(wish)} />
    </section>
  );
}

function Snippet({ name, text }: { name: string; text: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => setCopied(false), [text]);
  useEffect(() => {
    const timer = copied ? setTimeout(() => setCopied(false), SHOWN_MS) : undefined;
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <div class="snippet">
      <div class="snippet-head">
        <h3>{name}</h3>
        <button type="button" class="quiet" aria-label={`Copy ${name}`} onClick={async () => setCopied(await copy(text))}>
          {copied ? "Copied" : "Copy"}
        </button>
        <span class="hidden-text" role="status">
          {copied ? `Copied ${name}` : ""}
        </span>
      </div>
      <pre tabIndex={0} aria-label={name} data-snippet={name.toLowerCase()}>
        {text}
      </pre>
    </div>
  );
}

/** Whether the text is on the clipboard now. Pages that came over plain HTTP from another machine have none. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
