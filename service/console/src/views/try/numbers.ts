/** Numbers as people read them. */

const THREE = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** With three significant digits. */
export function short(value: number): string {
  return THREE.format(value).replace("-", "−");
}

/** As `short`, with its sign. */
export function signed(value: number): string {
  return value > 0 ? `+${short(value)}` : short(value);
}

/** `1 item`, `12 items`. */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}
