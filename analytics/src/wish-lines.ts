/** Settings for a device as people read them, in a terminal and on the page. Pure. */

/** Members as the API takes them; what they hold is checked there. */
export interface WishesInput {
  readonly wanted?: unknown;
  readonly intervals?: Readonly<Record<string, unknown>>;
  readonly edge?: Readonly<Record<string, unknown>>;
  readonly preferences?: Readonly<Record<string, unknown>>;
  readonly expiresInMs?: unknown;
}

/** Units of durations, in ms. */
export const DURATION_UNITS: Readonly<Record<string, number>> = {
  ...{ ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 },
};

/** `30 s`, `1 d`: in the largest unit that divides it. */
export function durationText(ms: number): string {
  const [unit, size] = Object.entries(DURATION_UNITS).findLast(
    ([, each]) => ms > 0 && ms % each === 0,
  ) ?? [...(['ms', 1] as const)];
  return `${ms / size} ${unit}`;
}

/** One line for each setting: name and value. */
export function wishLines(wishes: WishesInput): [string, string][] {
  const rows: [string, string][] = [];
  if (Array.isArray(wishes.wanted)) {
    rows.push(['wanted', wishes.wanted.length === 0 ? 'nothing' : wishes.wanted.join(', ')]);
  }
  for (const [profile, ms] of Object.entries(wishes.intervals ?? {})) {
    rows.push([`interval ${profile}`, durationText(Number(ms))]);
  }
  for (const [stream, text] of Object.entries(wishes.edge ?? {})) {
    rows.push([`edge ${stream}`, String(text)]);
  }
  for (const [key, ms] of Object.entries(wishes.preferences ?? {})) {
    rows.push([key === 'sealEveryMs' ? 'seal every' : 'heartbeat', durationText(Number(ms))]);
  }
  return rows;
}
