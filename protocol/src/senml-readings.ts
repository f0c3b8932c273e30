/**
 * From a SenML pack to readings, by way of `resolveExact`: the plain definition of what telemetry means
 * (docs/spec/telemetry.md sections 1 and 2). `senml-walker.ts` gives the same from bytes, fast.
 */

import { decimalToMicros, secondsToMicros } from './decimal.ts';
import { ProtocolError } from './errors.ts';
import {
  isReadingTime,
  MAX_READINGS,
  ReadingSink,
  type ReadingType,
  splitName,
} from './readings-sink.ts';
import { type ExactRecord, resolveExact, senmlToNumber } from './senml.ts';
import { malformed, type SenmlNumber, type SenmlPack } from './senml-fields.ts';

/**
 * The readings of a pack, in its order.
 *
 * @throws {ProtocolError} ERR_SENML_MALFORMED.
 */
export function readingsFromSenml(pack: SenmlPack, sink = new ReadingSink()): ReadingSink {
  sink.reset();
  if (pack.length > MAX_READINGS) {
    throw new ProtocolError(
      'ERR_SENML_MALFORMED',
      `senml: expected at most ${MAX_READINGS} records, got ${pack.length}`,
    );
  }
  for (const [index, record] of resolveExact(pack).entries()) {
    const name = splitName(record.n);
    if (name === undefined) throw malformed(index, `name: no metric name in ${record.n}`);
    const time = senmlToMicros(record.t ?? 0);
    if (!isReadingTime(time)) throw malformed(index, `time: ${time} µs is outside of what is read`);
    sink.run(name, record.u ?? '', typeOf(record), 'ERR_SENML_MALFORMED');
    if (record.v !== undefined) sink.add(time, senmlToNumber(record.v));
    else if (record.vs !== undefined) sink.addObject(time, record.vs);
    else if (record.vb !== undefined) sink.add(time, record.vb ? 1 : 0);
    else if (record.vd !== undefined) sink.addObject(time, record.vd);
    else sink.add(time, senmlToNumber(record.s!));
  }
  return sink;
}

/** A time in whole µs (telemetry.md 1.6). */
export function senmlToMicros(time: SenmlNumber): number {
  return typeof time === 'number' ? secondsToMicros(time) : decimalToMicros(time);
}

function typeOf(record: ExactRecord): ReadingType {
  if (record.v !== undefined) return 'number';
  if (record.vs !== undefined) return 'string';
  if (record.vb !== undefined) return 'boolean';
  return record.vd !== undefined ? 'data' : 'sum';
}
