/** Requests to the service that served this page, typed by its OpenAPI document. */
import createClient from "openapi-fetch";
import { useCallback, useEffect, useState } from "preact/hooks";
import type { components, paths } from "./openapi";

export type Schemas = components["schemas"];

/** The service's address: the page is at BASE/console. */
export const BASE = location.origin + location.pathname.replace(/\/console$/, "");

const SLOW_MS = 30_000;

// In memory alone: a reload forgets it, and no address, storage or log can hold it.
let key: string | null = null;
const keyListeners = new Set<() => void>();

/** Send this API key from now on; null sends none. */
export function useKey(value: string | null): void {
  key = value;
  keyListeners.forEach((listener) => listener());
}

export function hasKey(): boolean {
  return key !== null;
}

/** Call `listener` whenever another key is in use; returns what ends that. */
export function onKeyChange(listener: () => void): () => void {
  keyListeners.add(listener);
  return () => void keyListeners.delete(listener);
}

/** What went wrong with a request: the service's own error, or none that it could send. */
export class Problem extends Error {
  constructor(
    readonly status: number, // 0: no response arrived
    readonly code: string,
    readonly detail: string,
    readonly requestId: string | null,
    readonly retryAfterS: number | null = null,
  ) {
    super(detail);
  }
}

/** `fetch` with the key, from this service alone. */
export async function fetchFromService(input: Request | string, init?: RequestInit): Promise<Response> {
  const request = new Request(input, { ...init, credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer" });
  if (new URL(request.url).origin !== location.origin) throw new Error(`not this service: ${request.url}`);
  if (key !== null) request.headers.set("Authorization", `Bearer ${key}`);
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(SLOW_MS)]);
  return fetch(request, { signal });
}

export const api = createClient<paths>({ baseUrl: BASE, fetch: fetchFromService });

interface Exchange<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of a response; throws a Problem where there is none. */
export async function answer<T>(request: Promise<Exchange<T>>): Promise<T> {
  let exchange: Exchange<T>;
  try {
    exchange = await request;
  } catch (error) {
    throw asProblem(error);
  }
  const { data, error, response } = exchange;
  if (response.ok && data !== undefined) return data;
  const body = (typeof error === "object" && error !== null ? error : {}) as Partial<Schemas["Refusal"]>;
  const retryAfter = Number(response.headers.get("Retry-After"));
  throw new Problem(
    response.status,
    body.error ?? "unexpected_response",
    body.detail ?? `the service responded with status ${response.status}`,
    body.request_id ?? response.headers.get("X-Request-Id"),
    retryAfter > 0 ? retryAfter : null,
  );
}

function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof DOMException && error.name === "TimeoutError")
    return new Problem(0, "timeout", `no response arrived within ${SLOW_MS / 1000} seconds`, null);
  return new Problem(0, "unreachable", "the service cannot be reached: has it stopped?", null);
}

export interface Loaded<T> {
  data: T | null; // stays while it is loaded again
  problem: Problem | null;
  loading: boolean;
  reload: () => void;
}

/** Load when the component appears, when one of `inputs` changes, on `reload`, and every `everyMs` if given.
 *
 * A response that arrives after a newer request was sent is dropped. */
export function useLoaded<T>(load: () => Promise<T>, inputs: readonly unknown[], everyMs?: number): Loaded<T> {
  const [state, setState] = useState<Omit<Loaded<T>, "reload">>({ data: null, problem: null, loading: true });
  const [turn, setTurn] = useState(0);
  const reload = useCallback(() => setTurn((last) => last + 1), []);
  useEffect(() => onKeyChange(reload), []);
  useEffect(() => {
    let current = true;
    setState((last) => ({ ...last, loading: true }));
    load().then(
      (data) => current && setState({ data, problem: null, loading: false }),
      (error: unknown) => current && setState((last) => ({ ...last, problem: asProblem(error), loading: false })),
    );
    const timer = everyMs === undefined ? undefined : setInterval(() => document.hidden || reload(), everyMs);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [turn, everyMs, ...inputs]);
  return { ...state, reload };
}
