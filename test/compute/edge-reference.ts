/**
 * Edge functions a second time, as docs/spec/edge-functions.md says it: over whole lists, without streaming, shared
 * code or thrift. `bands` uses the definition of the Fourier transform and differs in its last digits.
 */

import { createAnomalyState, scoreAnomaly } from '@fieldproof/compute/anomaly-score';

export type Instant = readonly [timeUs: number, value: number];
export type Stage = readonly [id: string, params: Readonly<Record<string, unknown>>];

interface Stream {
  readonly instants: readonly Instant[];
  /** No instant before it comes any more. */
  readonly doneUs: number;
}

/** The results of each output. */
export function referenceResults(
  definition: readonly Stage[],
  instants: readonly Instant[],
): Instant[][] {
  const [first, ...rest] = definition;
  const isOrdered = first![0] === 'order-1';
  const ordered = inOrder(instants, isOrdered ? (first![1].waitUs as number) : 0);
  let streams: Stream[] = [{ instants: ordered, doneUs: ordered.at(-1)?.[0] ?? -Infinity }];
  for (const stage of isOrdered ? rest : definition) {
    streams = streams.flatMap((stream) => apply(stage, stream));
  }
  return streams.map((stream) => [...stream.instants]);
}

function inOrder(instants: readonly Instant[], waitUs: number): Instant[] {
  const taken = new Map<number, number>();
  let newest = -Infinity;
  for (const [time, value] of instants) {
    if (!Number.isFinite(value) || Math.abs(value) > 1e100) continue;
    if (time > newest - waitUs && !taken.has(time)) taken.set(time, value + 0);
    newest = Math.max(newest, time);
  }
  return [...taken].filter(([time]) => time <= newest - waitUs).sort(([a], [b]) => a - b);
}

// biome-ignore lint/suspicious/noExplicitAny: parameters as they are in CBOR
function apply([id, params]: readonly [string, any], stream: Stream): Stream[] {
  switch (id) {
    case 'window-1':
      return windows(params, stream);
    case 'deadband-1':
      return [{ ...stream, instants: deadband(params, stream.instants) }];
    case 'threshold-1':
      return [{ ...stream, instants: threshold(params, stream.instants) }];
    case 'rate-1': {
      const rates = stream.instants.flatMap(([time, value], i): Instant[] => {
        const [before, from] = stream.instants[i - 1] ?? [-Infinity, 0];
        return time - before <= (params.gapUs ?? Number.MAX_VALUE)
          ? [[time, ((value - from) * 1e6) / (time - before)]]
          : [];
      });
      return [{ ...stream, instants: rates.map(([time, value]) => [time, value + 0]) }];
    }
    case 'bands-1':
      return bands(params, stream);
    case 'anomaly-1': {
      // The score has tests of its own.
      const state = createAnomalyState();
      const scores = stream.instants.map(([time, value]): Instant => {
        return [time, scoreAnomaly(state, { timeMs: time / 1000, value }, params.threshold)];
      });
      return [{ ...stream, instants: scores }];
    }
    default:
      throw new Error(id);
  }
}

function windows(
  params: { lengthUs: number; everyUs?: number; fields: readonly string[] },
  { instants, doneUs }: Stream,
): Stream[] {
  const everyUs = params.everyUs ?? params.lengthUs;
  const panes = params.lengthUs / everyUs;
  const end = Math.floor(doneUs / everyUs);
  const paneOf = ([time]: Instant): number => Math.floor(time / everyUs);
  const lasts = new Set<number>();
  for (const each of instants) for (let i = 0; i < panes; i++) lasts.add(paneOf(each) + i);
  const results = params.fields.map((): Instant[] => []);
  for (const last of [...lasts].filter((pane) => pane < end).sort((a, b) => a - b)) {
    const members = instants.filter((each) => paneOf(each) <= last && paneOf(each) > last - panes);
    const perPane = new Map<number, number[]>();
    for (const each of members) {
      perPane.set(paneOf(each), [...(perPane.get(paneOf(each)) ?? []), each[1]]);
    }
    params.fields.forEach((field, i) => {
      const value = figure(field, [...perPane.values()]);
      if (value !== undefined) results[i]!.push([last * everyUs, value]);
    });
  }
  return results.map((each) => ({ instants: each, doneUs: end * everyUs }));
}

function figure(field: string, panes: readonly (readonly number[])[]): number | undefined {
  const values = panes.flat();
  const sorted = [...values].sort((a, b) => a - b);
  const [min, max] = [sorted[0]!, sorted.at(-1)!];
  const clamp = (value: number): number => Math.min(max, Math.max(min, value));
  if (field === 'count') return values.length;
  if (field === 'min') return min;
  if (field === 'max') return max;
  if (field === 'first') return values[0];
  if (field === 'last') return values.at(-1);
  if (field === 'sum') return exactSum(values);
  if (field === 'mean') return clamp(exactSum(values) / values.length);
  if (field === 'stddev') return deviation(panes);
  const permille = Math.round(10 * Number(field.slice(1)));
  const rank = Math.max(1, Math.ceil((permille * values.length) / 1000));
  for (let shift = 0; ; shift++) {
    const ranges = values.map((value) => rangeOf(value, shift));
    if (new Set(ranges.map(String)).size > 1024) continue;
    const [low, high] = rangeOf(sorted[rank - 1]!, shift);
    return clamp((low + high) / 2);
  }
}

/** The numbers that have the same upper bits, 32 − shift of them; [low, high]. */
function rangeOf(value: number, shift: number): [number, number] {
  if (Math.abs(value) < 2 ** -332) return [0, 0];
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, Math.abs(value));
  const unit = 1n << BigInt(32 + shift);
  const low = (view.getBigUint64(0) / unit) * unit;
  const toNumber = (bits: bigint): number => {
    view.setBigUint64(0, bits);
    return Math.sign(value) * view.getFloat64(0);
  };
  return [toNumber(low), toNumber(low + unit)];
}

function deviation(panes: readonly (readonly number[])[]): number | undefined {
  let [n, mean, m2] = [0, 0, 0];
  for (const values of panes) {
    let [count, middle, squares] = [0, 0, 0];
    for (const value of values) {
      count += 1;
      const before = value - middle;
      middle = middle + before / count;
      squares = squares + before * (value - middle);
    }
    const distance = middle - mean;
    const both = n + count;
    if (n === 0) [mean, m2] = [middle, squares];
    else {
      mean = mean + distance * (count / both);
      m2 = m2 + squares + distance * distance * ((n * count) / both);
    }
    n = both;
  }
  return n < 2 ? undefined : Math.sqrt(m2 / (n - 1));
}

/** In whole multiples of 2^-400. */
function exactSum(values: readonly number[]): number {
  let total = 0n;
  for (let value of values) {
    let bits = 400;
    while (!Number.isInteger(value)) {
      value *= 2;
      bits -= 1;
    }
    total += BigInt(value) << BigInt(bits);
  }
  return Number(total) * 2 ** -400;
}

function deadband(
  { band, silenceUs = Infinity }: { band: number | readonly [string, number]; silenceUs?: number },
  instants: readonly Instant[],
): Instant[] {
  const sent: Instant[] = [];
  for (const each of instants) {
    const last = sent.at(-1);
    const width = typeof band === 'number' ? band : (band[1] * Math.abs(last?.[1] ?? 0)) / 100;
    const isFar = last === undefined || Math.abs(each[1] - last[1]) > width;
    if (isFar || each[0] - last[0] >= silenceUs) sent.push(each);
  }
  return sent;
}

function threshold(
  params: { side: string; level: number; release?: number; holdUs?: number; gapUs?: number },
  instants: readonly Instant[],
): Instant[] {
  const { level, release = level, holdUs = 0, gapUs = Infinity } = params;
  const sign = params.side === 'above' ? 1 : -1;
  const events: Instant[] = [];
  let from = 0;
  instants.forEach(([time], i) => {
    const isUp = events.at(-1)?.[1] === 1;
    // The longest run up to here, since the last event, of instants on the other side and without gaps.
    let begin = i + 1;
    while (begin > from) {
      const [at, value] = instants[begin - 1]!;
      const isBeyond = isUp ? sign * value > sign * release : sign * value > sign * level;
      if (isBeyond === isUp || (begin <= i && instants[begin]![0] - at > gapUs)) break;
      begin -= 1;
    }
    if (begin > i || time - instants[begin]![0] < holdUs) return;
    events.push([time, isUp ? 0 : 1]);
    from = i + 1;
  });
  return events;
}

function bands(
  params: { points: number; bands: readonly string[] },
  { instants, doneUs }: Stream,
): Stream[] {
  const results = params.bands.map((): Instant[] => []);
  const { points } = params;
  let block: Instant[] = [];
  for (const each of instants) {
    block.push(each);
    if (block.length < points) continue;
    const gaps = block.slice(1).map(([time], i) => time - block[i]![0]);
    const median = [...gaps].sort((a, b) => a - b)[Math.floor((gaps.length - 1) / 2)]!;
    const uneven = gaps.findLastIndex((gap) => Math.abs(gap - median) > median / 4);
    if (uneven >= 0) {
      block = block.slice(uneven + 1);
      continue;
    }
    const start = block[0]![0];
    const hertz = (1e6 * (points - 1)) / (each[0] - start);
    const spectrum = powers(block.map(([, value]) => value));
    params.bands.forEach((band, i) => {
      const [low, high] = band.split('-').map(Number) as [number, number];
      const inside = spectrum.filter(
        (_, k) => (k * hertz) / points >= low && (k * hertz) / points < high,
      );
      if (inside.length > 0) results[i]!.push([start, inside.reduce((a, b) => a + b, 0)]);
    });
    block = [];
  }
  return results.map((each) => ({ instants: each, doneUs }));
}

function powers(x: readonly number[]): number[] {
  const points = x.length;
  const mean = x.reduce((a, b) => a + b, 0) / points;
  const hann = x.map((_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / points));
  const norm = points * hann.reduce((sum, w) => sum + w * w, 0);
  return Array.from({ length: points / 2 + 1 }, (_, k) => {
    let [re, im] = [0, 0];
    x.forEach((value, n) => {
      re += (value - mean) * hann[n]! * Math.cos((2 * Math.PI * k * n) / points);
      im -= (value - mean) * hann[n]! * Math.sin((2 * Math.PI * k * n) / points);
    });
    return ((k === 0 || k === points / 2 ? 1 : 2) * (re * re + im * im)) / norm;
  });
}
