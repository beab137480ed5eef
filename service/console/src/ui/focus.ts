/** Where the keyboard goes on when what had the focus leaves the page. */
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

/** Focus the view's heading, from where the keyboard goes on. */
export function focusHeading(options?: FocusOptions): void {
  document.querySelector<HTMLElement>("main h1")?.focus(options);
}

/** The ref of a button that goes with what it has mended. */
export function useLeavingButton(): RefObject<HTMLButtonElement | null> {
  const button = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => { // the end of a plain effect comes once the button is gone
    const shown = button.current;
    return () => {
      if (shown !== null && document.activeElement === shown) focusHeading({ preventScroll: true });
    };
  }, []);
  return button;
}
