/**
 * Telemetry payloads of both content types (docs/spec/telemetry.md), for those who need not know which: decoding into
 * a sink, and the summary that a gate checks times by.
 */

import { decodeColumns } from './columns.ts';
import { ProtocolError } from './errors.ts';
import { ABSOLUTE_MICROS, type DecodedReadings, ReadingSink } from './readings-sink.ts';
import { SenmlWalker } from './senml-walker.ts';

/** COSE content types of telemetry payloads. */
export const CONTENT_TYPE_SENML = 112;
export const CONTENT_TYPE_COLUMNS = 65001;

export interface TelemetrySummary {
  readonly readings: number;
  /** Least and greatest time in ms, fractional down to 1 µs; NaN where there is none. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** Whether some times are Unix times, and whether some are relative to the instant of sealing. */
  readonly absolute: boolean;
  readonly relative: boolean;
}

let walker: SenmlWalker | undefined;
let shared: ReadingSink | undefined;

/**
 * Decodes a payload of content type 112 or 65001.
 *
 * @param sink - reused when given; the result is valid until it is used again.
 * @throws {ProtocolError} ERR_SENML_MALFORMED or ERR_COLUMNS_MALFORMED, ERR_CBOR_*; ERR_ARGUMENT for another content
 * type.
 */
export function decodeTelemetry(
  payload: Uint8Array,
  contentType: number,
  sink = new ReadingSink(),
): DecodedReadings {
  if (contentType === CONTENT_TYPE_COLUMNS) return decodeColumns(payload, sink);
  if (contentType !== CONTENT_TYPE_SENML) {
    throw new ProtocolError(
      'ERR_ARGUMENT',
      `content type: expected 112 or 65001, got ${contentType}`,
    );
  }
  walker ??= new SenmlWalker();
  return walker.walk(payload, sink);
}

/**
 * Validates a payload and says what a gate needs to know about its times. Keeps nothing.
 *
 * @throws {ProtocolError} as `decodeTelemetry`.
 */
export function checkTelemetry(payload: Uint8Array, contentType: number): TelemetrySummary {
  shared ??= new ReadingSink();
  return summarize(decodeTelemetry(payload, contentType, shared));
}

/** The summary of decoded readings. */
export function summarize({ count, timesUs }: DecodedReadings): TelemetrySummary {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let absolutes = 0;
  for (let i = 0; i < count; i++) {
    const time = timesUs[i]!;
    if (time < min) min = time;
    if (time > max) max = time;
    if (isAbsolute(time)) absolutes++;
  }
  return {
    readings: count,
    minTimeMs: count === 0 ? Number.NaN : min / 1000,
    maxTimeMs: count === 0 ? Number.NaN : max / 1000,
    absolute: absolutes > 0,
    relative: absolutes < count,
  };
}

/** Whether a time in µs is Unix time rather than relative (telemetry.md 1.3). */
export function isAbsolute(timeUs: number): boolean {
  return timeUs >= ABSOLUTE_MICROS;
}
