/** The samples of /metrics that a view has taken, and what they say of a window of time. */
import { type Increase, type Match, type Sample, increases, startOf } from "./prometheus.ts";

export const MOST_SAMPLES = 721; // an hour at one in five seconds

export interface Window {
  readonly samples: readonly Sample[]; // oldest first
  readonly fromZero: boolean; // whether it begins with the process
  readonly seconds: number;
}

export class History {
  readonly samples: readonly Sample[]; // oldest first, at least one

  constructor(samples: readonly Sample[]) {
    this.samples = samples;
  }

  get latest(): Sample {
    return this.samples.at(-1)!;
  }

  with(sample: Sample): History {
    return new History([...this.samples, sample].slice(-MOST_SAMPLES));
  }

  /** Since the process started, by the latest sample alone. */
  sinceStart(): Window {
    const { latest } = this;
    return { samples: [latest], fromZero: true, seconds: Math.max(latest.timeS - startOf(latest), 1) };
  }

  /** The last seconds, as far as they were seen; of a younger process, and of one sample alone, since its start. */
  last(seconds: number): Window {
    const seen = this.seen(seconds);
    if (seen.fromZero || seen.samples.length > 1) return seen;
    return this.sinceStart();
  }

  /** As `last`, but nothing before the view was opened: what Prometheus' `increase` over the seconds would see of it. */
  seen(seconds: number): Window {
    const now = this.latest.timeS;
    const within = this.samples.filter(({ timeS }) => timeS >= now - seconds);
    const [first] = within as [Sample, ...Sample[]];
    const started = startOf(first);
    const fromZero = started > now - seconds;
    return { samples: within, fromZero, seconds: Math.max(now - (fromZero ? started : first.timeS), 1) };
  }

  /** By how much the series of a counter grew in the last seconds, as far as they were seen. */
  increase(name: string, seconds: number, match: Match = {}): Increase[] {
    return within(this.seen(seconds), name, match);
  }
}

export function within(window: Window, name: string, match: Match = {}): Increase[] {
  return increases(window.samples, name, match, window.fromZero);
}
