/**
 * What a desired state makes of the owner's configuration, or everything that stands against it. Pure: no clock, no files.
 * docs/spec/remote-config.md section 2.
 */

import {
  HEARTBEAT_LIMITS,
  type Wishes,
  type WishProblem,
} from '@fieldproof/protocol/desired-state';
import { cutText } from '@fieldproof/protocol/well-formed';
import type { SensorConfig } from './config.ts';
import type { EdgeSettings } from './edge/edge-settings.ts';
import type { RemoteSettings } from './remote-settings.ts';

/** The part of the configuration that a desired state can touch. */
export interface OwnSettings {
  readonly sensors: readonly SensorConfig[];
  readonly edge: EdgeSettings;
  readonly batch: { readonly sealEveryMs: number };
  readonly link: { readonly heartbeatMs: number };
}

/** What the agent goes by. */
export interface EffectiveSettings {
  readonly sensors: readonly SensorConfig[];
  readonly edge: EdgeSettings;
  readonly sealEveryMs: number;
  readonly heartbeatMs: number;
  /** Whether readings of a metric are kept. */
  readonly keeps: (profile: string, metric: string) => boolean;
}

/** What is known of a sensor that is open. */
export interface KnownSensor {
  readonly kind: 'pull' | 'push';
  readonly metrics: readonly string[];
}

export interface Surroundings {
  readonly own: OwnSettings;
  readonly remote: RemoteSettings;
  /** By profile; those that are not open are missing. */
  readonly known: ReadonlyMap<string, KnownSensor>;
  /** Mistakes in the edge function of a stream. */
  readonly edgeMistakes: (stream: string) => readonly string[];
}

/** A problem, and whether it is a limit of the owner rather than a mistake. */
export interface Objection extends WishProblem {
  readonly isLimit: boolean;
}

export type Judged =
  | { readonly effective: EffectiveSettings; readonly objections: readonly [] }
  | { readonly effective: undefined; readonly objections: readonly Objection[] };

/** The owner's configuration as it is. */
export function ownSettings({ sensors, edge, batch, link }: OwnSettings): EffectiveSettings {
  const { sealEveryMs } = batch;
  const { heartbeatMs } = link;
  return { sensors, edge, sealEveryMs, heartbeatMs, keeps: () => true };
}

/** What the wishes make of it, or all that stands against them. */
export function judgeWishes(wishes: Wishes, surroundings: Surroundings): Judged {
  const objections: Objection[] = [];
  const wants = wantedFrom(wishes.wanted);
  checkWanted(wishes.wanted ?? [], surroundings, objections);
  const intervals = checkIntervals(wishes.intervals ?? {}, surroundings, objections);
  checkEdges(wishes.edge ?? {}, { ...surroundings, wants }, objections);
  const { sealEveryMs, heartbeatMs } = checkPreferences(wishes, surroundings, objections);
  if (objections.length > 0) return { effective: undefined, objections };
  const { own } = surroundings;
  const effective: EffectiveSettings = {
    sensors: own.sensors
      .filter(({ profile }) => wants.anyOf(profile))
      .map((sensor) => {
        const intervalMs = intervals.get(sensor.profile);
        return intervalMs === undefined ? sensor : { ...sensor, intervalMs };
      }),
    edge: { ...own.edge, ...edgeFrom(wishes.edge ?? {}, own) },
    ...{ sealEveryMs, heartbeatMs },
    keeps: wants.metric,
  };
  return { effective, objections: [] };
}

interface Wanted {
  readonly anyOf: (profile: string) => boolean;
  readonly metric: (profile: string, metric: string) => boolean;
}

function wantedFrom(wanted: readonly string[] | undefined): Wanted {
  if (wanted === undefined) return { anyOf: () => true, metric: () => true };
  const whole = new Set(wanted.filter((each) => !each.includes('/')));
  const single = new Set(wanted.filter((each) => each.includes('/')));
  const inPart = new Set([...single].map(profileOf));
  return {
    anyOf: (profile) => whole.has(profile) || inPart.has(profile),
    metric: (profile, metric) => whole.has(profile) || single.has(`${profile}/${metric}`),
  };
}

function checkWanted(
  wanted: readonly string[],
  surroundings: Surroundings,
  objections: Objection[],
): void {
  for (const [at, selector] of wanted.entries()) {
    checkStream(selector, `wanted[${at}]`, { surroundings, objections });
  }
}

/** A device cannot give what it does not measure. Sensors that speak by themselves may know more metrics later. */
function checkStream(
  selector: string,
  path: string,
  { surroundings, objections }: { surroundings: Surroundings; objections: Objection[] },
): boolean {
  const profile = profileOf(selector);
  if (!hasProfile(surroundings, profile)) {
    objections.push(unknownProfile(path, profile, surroundings));
    return false;
  }
  const metric = selector.slice(profile.length + 1);
  const sensor = surroundings.known.get(profile);
  if (metric === '' || sensor === undefined || sensor.kind === 'push') return true;
  if (sensor.metrics.length === 0 || sensor.metrics.includes(metric)) return true;
  const expected = `a metric of ${profile}: ${some(sensor.metrics)}`;
  objections.push({ path, expected, got: JSON.stringify(metric), isLimit: false });
  return false;
}

function checkIntervals(
  intervals: Readonly<Record<string, number>>,
  surroundings: Surroundings,
  objections: Objection[],
): ReadonlyMap<string, number> {
  const { own, remote, known } = surroundings;
  for (const [profile, intervalMs] of Object.entries(intervals)) {
    const path = `intervals.${profile}`;
    const sensor = own.sensors.find((each) => each.profile === profile);
    if (sensor === undefined) {
      objections.push(unknownProfile(path, profile, surroundings));
    } else if (known.get(profile)?.kind === 'push') {
      const expected = 'none for a sensor that speaks by itself';
      objections.push({ path, expected, got: String(intervalMs), isLimit: false });
    } else {
      const min = Math.min(remote.minIntervalMs, sensor.intervalMs);
      const max = Math.max(remote.maxIntervalMs, sensor.intervalMs);
      checkRange(intervalMs, path, { min, max, objections });
    }
  }
  return new Map(Object.entries(intervals));
}

function checkEdges(
  edge: Readonly<Record<string, string>>,
  surroundings: Surroundings & { readonly wants: Wanted },
  objections: Objection[],
): void {
  const { own, remote, edgeMistakes, wants } = surroundings;
  for (const [stream, text] of Object.entries(edge)) {
    const path = `edge.${stream}`;
    for (const mistake of edgeMistakes(stream)) {
      objections.push({ path, expected: 'an edge function', got: mistake, isLimit: false });
    }
    if (!checkStream(stream, path, { surroundings, objections })) continue;
    const profile = profileOf(stream);
    if (!wants.metric(profile, stream.slice(profile.length + 1))) {
      objections.push({ path, expected: 'a wanted stream', got: stream, isLimit: false });
    }
    if (remote.edge === 'refuse') {
      const expected = 'none: the owner allows no edge functions from afar';
      objections.push({ path, expected, got: shown(text), isLimit: true });
    } else if (Object.hasOwn(own.edge, stream) && remote.edge === 'add') {
      const { text: ownText } = own.edge[stream]!;
      const expected = `the owner's own: ${shown(ownText)}`;
      if (ownText !== text) {
        objections.push({ path, expected, got: shown(text), isLimit: true });
      }
    }
  }
}

/** What is sent of a stream beside the results stays the owner's choice. */
function edgeFrom(edge: Readonly<Record<string, string>>, own: OwnSettings): EdgeSettings {
  const settings = Object.entries(edge).map(([key, text]) => {
    const send = Object.hasOwn(own.edge, key) ? own.edge[key]!.send : 'results';
    return [key, { key, text, send }] as const;
  });
  return Object.fromEntries(settings);
}

function checkPreferences(
  { preferences = {} }: Wishes,
  { own, remote }: Surroundings,
  objections: Objection[],
): { sealEveryMs: number; heartbeatMs: number } {
  const { sealEveryMs = own.batch.sealEveryMs, heartbeatMs = own.link.heartbeatMs } = preferences;
  checkRange(sealEveryMs, 'preferences.sealEveryMs', {
    min: Math.min(remote.minSealEveryMs, own.batch.sealEveryMs),
    max: Math.max(remote.maxSealEveryMs, own.batch.sealEveryMs),
    objections,
  });
  checkRange(heartbeatMs, 'preferences.heartbeatMs', {
    min: Math.min(remote.minHeartbeatMs, own.link.heartbeatMs),
    ...{ max: HEARTBEAT_LIMITS.max, objections },
  });
  return { sealEveryMs, heartbeatMs };
}

function checkRange(
  value: number,
  path: string,
  range: { readonly min: number; readonly max: number; readonly objections: Objection[] },
): void {
  const { min, max, objections } = range;
  if (value >= min && value <= max) return;
  const expected = `what the owner allows, ${min} to ${max} ms`;
  objections.push({ path, expected, got: String(value), isLimit: true });
}

function hasProfile({ own }: Surroundings, profile: string): boolean {
  return own.sensors.some((sensor) => sensor.profile === profile);
}

function unknownProfile(path: string, profile: string, { own }: Surroundings): Objection {
  const expected = `a profile of this device: ${some(own.sensors.map((each) => each.profile))}`;
  return { path, expected, got: JSON.stringify(profile), isLimit: false };
}

function profileOf(selector: string): string {
  const at = selector.indexOf('/');
  return at < 0 ? selector : selector.slice(0, at);
}

/** The first of them, so that a reason stays short. */
function some(names: readonly string[]): string {
  const shown = names.slice(0, 8).join(', ');
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown || 'none';
}

function shown(text: string): string {
  return JSON.stringify(cutText(text, 60));
}
