/** The payload's row of the verdict table: content type and shape by kind, and the time rules. docs/spec/settlement.md 1.3. */

import { decode } from '@fieldproof/protocol/cbor';
import { checkEdgeResult } from '@fieldproof/protocol/edge-result';
import { CONTENT_TYPES, type UpEnvelope } from '@fieldproof/protocol/envelope';
import { ProtocolError } from '@fieldproof/protocol/errors';
import { decodeBirth, decodeEvent, decodeGap, PAYLOAD_LIMITS } from '@fieldproof/protocol/messages';
import { checkTelemetry, type TelemetrySummary } from '@fieldproof/protocol/readings-decode';
import { decodeRelay } from '@fieldproof/protocol/relay';
import type { UpKind } from '@fieldproof/protocol/topics';
import { BrokerError } from '../errors.ts';

/** What a reading may be later than its reception, beside the clock bound. docs/spec/telemetry.md section 1.5. */
const FUTURE_SLACK_MS = 5000;

/**
 * Checks the payload of an authentic envelope.
 *
 * @param at - receive time, Unix ms.
 * @throws {ProtocolError | BrokerError} the codes of the payload row, and ERR_CBOR_….
 */
export function checkPayload(kind: UpKind, envelope: UpEnvelope, at: number): void {
  const { contentType, payload, stamp } = envelope;
  const readings = contentType === CONTENT_TYPES.senml || contentType === CONTENT_TYPES.columns;
  if (readings && (kind === 'telemetry' || kind === 'result')) {
    checkTimes(checkTelemetry(payload, contentType), stamp.boundMs, at);
    return;
  }
  if (contentType === CONTENT_TYPES.edgeResult && kind === 'result') {
    checkTimes(checkEdgeResult(payload), stamp.boundMs, at);
    return;
  }
  if (contentType !== CONTENT_TYPES.cbor || kind === 'telemetry') {
    throw malformed(`content type: ${contentType} is none of kind ${kind}`);
  }
  if (kind === 'birth') decodeBirth(payload);
  else if (kind === 'event') decodeEvent(payload);
  else if (kind === 'gap') decodeGap(payload);
  else if (kind === 'relay') decodeRelay(payload);
  else if (!(decode(payload, PAYLOAD_LIMITS) instanceof Map)) {
    throw malformed('payload: expected a map');
  }
}

/** docs/spec/telemetry.md sections 1.4 and 1.5. */
function checkTimes(times: TelemetrySummary, boundMs: number | null, at: number): void {
  // A batch whose clock bound is null MUST use relative times only.
  if (boundMs === null) {
    if (!times.absolute) return;
    throw new BrokerError('ERR_TIME_UNSYNCED', 'times: expected relative ones, bound is null');
  }
  // A batch with a bound MUST use absolute times only.
  if (times.relative) {
    throw new BrokerError(
      'ERR_TIME_RELATIVE',
      `times: expected absolute ones, bound ${boundMs} ms`,
    );
  }
  // An absolute time later than received-at + bound + 5 s is ERR_TIME_FUTURE.
  const latest = at + boundMs + FUTURE_SLACK_MS;
  if (times.maxTimeMs > latest) {
    throw new BrokerError(
      'ERR_TIME_FUTURE',
      `times: expected up to ${latest}, got ${times.maxTimeMs}`,
    );
  }
}

function malformed(message: string): ProtocolError {
  return new ProtocolError('ERR_MESSAGE_MALFORMED', message);
}
