/** A field for the name of an experiment or an arm, which says what a name may have before the service refuses one. */
import { useEffect, useRef } from "preact/hooks";

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/; // as in index/experiments.py
const WORDS = "A name has small letters, digits, dots, hyphens and underscores, begins with a letter or digit, and is at most 64 characters long.";

export function NameField({ value, placeholder, change }: { value: string; placeholder?: string; change: (name: string) => void }) {
  const field = useRef<HTMLInputElement>(null);
  const wrong = value !== "" && !NAME.test(value);
  useEffect(() => field.current?.setCustomValidity(wrong ? WORDS : ""), [wrong]);
  return (
    <>
      <input
        ref={field}
        required
        value={value}
        placeholder={placeholder}
        aria-invalid={wrong}
        onInput={(event) => change(event.currentTarget.value)}
      />
      {wrong && (
        <span class="bad name-said" role="alert">
          {WORDS}
        </span>
      )}
    </>
  );
}
