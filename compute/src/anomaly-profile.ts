/**
 * What a stream usually is at this time of the day, in 96 quarters of an hour, and how much of the stream that explains:
 * nothing is taken off a stream that has no daily pattern.
 */

const DAY_MS = 86_400_000;
export const DAY_BINS = 96;
/** A bin is used once it was seen on so many days, and remembers about as many as the second. */
const MIN_DAYS = 2;
const MEMORY_DAYS = 8;
const MEMORY = 2000;
const WARM_UP = 150;
/** Beyond so many deviations a day counts no more. */
const CAP = 3;
/** A profile that explains less than this share of the variance is not used. */
const MIN_EXPLAINED = 0.2;
const WEIGHT_GAIN = 0.007;

/** State of a profile; plain numbers. */
export interface DayProfile {
  readonly level: number[];
  readonly days: number[];
  /** The bin being filled, -1 before the first reading. */
  bin: number;
  binMean: number;
  binReadings: number;
  readings: number;
  mean: number;
  /** Readings for which there was a profile, and the mean squares with and without it. */
  known: number;
  restSquare: number;
  valueSquare: number;
  /** How much of the profile is taken off, 0 to 1. */
  weight: number;
}

export function createDayProfile(): DayProfile {
  return {
    level: new Array<number>(DAY_BINS).fill(0),
    days: new Array<number>(DAY_BINS).fill(0),
    bin: -1,
    binMean: 0,
    binReadings: 0,
    readings: 0,
    mean: 0,
    known: 0,
    restSquare: 0,
    valueSquare: 0,
    weight: 0,
  };
}

/** What the time of the day adds to the mean as far as the profile is trusted; 0 where it is not known. Moves the weight on. */
export function expectOfDay(profile: DayProfile, timeMs: number, value: number): number {
  profile.readings++;
  profile.mean += Math.max(1 / profile.readings, 1 / MEMORY) * (value - profile.mean);
  const bin = binOf(timeMs);
  if (profile.days[bin]! < MIN_DAYS) return 0;
  const { restSquare, valueSquare } = profile;
  profile.known++;
  const isWarm = profile.known > WARM_UP;
  const explained = isWarm && valueSquare > 0 ? 1 - restSquare / valueSquare : 0;
  const target = Math.max(0, (explained - MIN_EXPLAINED) / (1 - MIN_EXPLAINED));
  profile.weight += WEIGHT_GAIN * (target - profile.weight);
  const rest = value - profile.level[bin]!;
  const capped = isWarm ? Math.min(rest * rest, CAP * CAP * restSquare) : rest * rest;
  const gain = Math.max(1 / profile.known, 1 / MEMORY);
  const deviation = value - profile.mean;
  profile.restSquare += gain * (capped - restSquare);
  profile.valueSquare += gain * (deviation * deviation - valueSquare);
  return profile.weight * (profile.level[bin]! - profile.mean);
}

/** Adds a reading to its bin; a bin that is over goes into the profile. */
export function learnDay(profile: DayProfile, timeMs: number, value: number): void {
  const bin = binOf(timeMs);
  if (bin !== profile.bin) {
    if (profile.bin >= 0) closeBin(profile);
    profile.bin = bin;
    profile.binMean = 0;
    profile.binReadings = 0;
  }
  profile.binReadings++;
  profile.binMean += (value - profile.binMean) / profile.binReadings;
}

function closeBin(profile: DayProfile): void {
  const { bin, days, level } = profile;
  const difference = profile.binMean - level[bin]!;
  const limit =
    days[bin]! >= MIN_DAYS && profile.known > WARM_UP
      ? CAP * Math.sqrt(profile.restSquare)
      : Number.POSITIVE_INFINITY;
  // Counts no further than it matters.
  days[bin] = Math.min(days[bin]! + 1, MEMORY_DAYS);
  level[bin]! += Math.max(-limit, Math.min(limit, difference)) / days[bin]!;
}

function binOf(timeMs: number): number {
  const ofDay = timeMs - Math.floor(timeMs / DAY_MS) * DAY_MS;
  return Math.min(DAY_BINS - 1, Math.floor((ofDay / DAY_MS) * DAY_BINS));
}
