/** Parts with a fault each, which the fuzzer has to find: put in from outside, so that the product has no such switch. */

import type { Evidence } from '@fieldproof/broker/gate/evidence';
import { judge } from '@fieldproof/broker/gate/rules';
import { PacketGuard } from '@fieldproof/broker/mqtt/guard';
import { decode, encode } from '@fieldproof/protocol/cbor';
import type { BatchEntry } from '@fieldproof/protocol/log-entries';
import type { Area } from './area.ts';
import { REAL_PARTS } from './envelopes/gate-bench.ts';
import type { GuardPart } from './packets/guard-cases.ts';
import { envelopesArea, packetsArea } from './pure-areas.ts';

export interface PlantedFault {
  readonly what: string;
  readonly area: () => Promise<Area> | Area;
}

export const PLANTED_FAULTS: readonly PlantedFault[] = [
  {
    what: 'the signature of events is not looked at',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        judge: (submission, context) =>
          judge(
            submission,
            submission.kind === 'event' ? { ...context, verify: () => true } : context,
          ),
      }),
  },
  {
    what: 'a signature with S + L is taken for one with S',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        judge: (submission, context) =>
          judge(submission, {
            ...context,
            verify: (signature, message, publicKey) =>
              context.verify(reduced(signature), message, publicKey),
          }),
      }),
  },
  {
    what: 'an envelope of another kind is taken',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        judge: (submission, context) => {
          const judgement = judge({ ...submission, diagnose: true }, context);
          if (judgement.fault?.code !== 'ERR_WRONG_KIND' || submission.kind !== 'result') {
            return judgement;
          }
          return judge({ ...submission, kind: 'telemetry' }, context);
        },
      }),
  },
  {
    what: 'payloads that are not deterministic are taken',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        judge: (submission, context) => {
          const judgement = judge(submission, context);
          const { fault, stamp } = judgement;
          const isForm = fault?.code === 'ERR_CBOR_NOT_DETERMINISTIC' && stamp !== null;
          return isForm ? { ...judgement, fault: null } : judgement;
        },
      }),
  },
  {
    what: 'envelopes around which the integers are longer than they need be are taken',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        judge: (submission, context) => {
          const judgement = judge(submission, context);
          // Not of births, which the gate opens once more.
          const isForm = judgement.fault?.code === 'ERR_CBOR_NOT_DETERMINISTIC';
          if (!isForm || submission.kind === 'birth') return judgement;
          try {
            const options = { strict: false, keepFloats: true } as const;
            return judge(
              { ...submission, envelope: encode(decode(submission.envelope, options)) },
              context,
            );
          } catch {
            return judgement;
          }
        },
      }),
  },
  {
    what: 'PUBACK leaves before the record is durable',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        evidence: (real) =>
          wrapped(real, (entry, body, onOutcome) => {
            onOutcome({ kind: 'accepted', index: 0, leafHash: new Uint8Array(32) });
            real.appendBatch(entry, body, () => {});
          }),
      }),
  },
  {
    what: 'what a gateway carries is recorded as if its leaf had been there',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        evidence: (real) =>
          wrapped(real, (entry, body, onOutcome) =>
            real.appendBatch({ ...entry, gateway: null }, body, onOutcome),
          ),
      }),
  },
  {
    what: 'a relay is acknowledged before what it carries is durable',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        evidence: (real) =>
          wrapped(real, (entry, body, onOutcome) => {
            if (entry.gateway === null) return real.appendBatch(entry, body, onOutcome);
            onOutcome({ kind: 'accepted', index: 0, leafHash: new Uint8Array(32) });
            setImmediate(() => real.appendBatch(entry, body, () => {}));
          }),
      }),
  },
  {
    what: 'an envelope is recorded twice',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        evidence: (real) =>
          wrapped(real, (entry, body, onOutcome) => {
            real.appendBatch(entry, body, onOutcome);
            if (entry.seq % 7 === 3) void real.append(entry as never);
          }),
      }),
  },
  {
    what: 'another envelope of the same seq is acknowledged as if it were the same',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        evidence: (real) =>
          wrapped(real, (entry, body, onOutcome) => {
            real.appendBatch(entry, body, (outcome) =>
              onOutcome(outcome.kind === 'equivocation' ? { kind: 'duplicate' } : outcome),
            );
          }),
      }),
  },
  {
    what: 'acknowledgements overtake each other',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        gate: (real) => ({
          receive: (session, publish, done) =>
            real.receive(session, publish, () =>
              publish.envelope.length % 5 === 0 ? setImmediate(done) : done(),
            ),
        }),
      }),
  },
  {
    what: 'a message that comes within an acknowledgement is acknowledged with it',
    area: () =>
      envelopesArea({
        ...REAL_PARTS,
        gate: (real) => {
          let isWithin = false;
          return {
            receive: (session, publish, done) => {
              const within = isWithin;
              real.receive(session, publish, () => {
                isWithin = true;
                if (!within) done();
                isWithin = false;
              });
              if (within) done();
            },
          };
        },
      }),
  },
  {
    what: 'the guard lets packet id 0 through',
    area: () => packetsArea((limits) => lax(new PacketGuard(limits), 'MQTT-2.3.1-1')),
  },
  {
    what: 'the guard lets text through that is no UTF-8',
    area: () => packetsArea((limits) => lax(new PacketGuard(limits), 'MQTT-3.3.2-1')),
  },
  {
    what: 'the guard refuses what is allowed: DUP with QoS 2',
    area: () =>
      packetsArea((limits) => {
        const guard = new PacketGuard(limits);
        return changed(guard, (chunk, allowance) => {
          const result = guard.push(chunk, allowance);
          if (!Buffer.isBuffer(result) || result[0]! >> 4 === 1) return result;
          return (result[0]! & 0xfe) === 0x3c ? { clause: 'planted' } : result;
        });
      }),
  },
  {
    what: 'the guard loses a byte where a packet is cut between two chunks',
    area: () =>
      packetsArea((limits) => {
        const guard = new PacketGuard(limits);
        let held = false;
        return changed(guard, (chunk, allowance) => {
          const rest = held && chunk.length > 40 ? chunk.subarray(1) : chunk;
          const result = guard.push(rest, allowance);
          held = result === null;
          return result;
        });
      }),
  },
];

/** A guard that takes one clause less seriously. */
function lax(guard: PacketGuard, clause: string): GuardPart {
  return changed(guard, (chunk, allowance) => {
    const result = guard.push(chunk, allowance);
    if (result === null || Buffer.isBuffer(result)) return result;
    return result.clause === clause ? chunk : result;
  });
}

function changed(guard: PacketGuard, push: GuardPart['push']): GuardPart {
  return {
    push,
    get isWaiting() {
      return guard.isWaiting;
    },
    takeOthers: () => guard.takeOthers(),
  };
}

function wrapped(real: Evidence, appendBatch: Evidence['appendBatch']): Evidence {
  return {
    get isFull() {
      return real.isFull;
    },
    get isRefusing() {
      return real.isRefusing;
    },
    drained: () => real.drained(),
    judge: (key, digest) => real.judge(key, digest),
    appendBatch: (entry: BatchEntry, body, onOutcome) => appendBatch(entry, body, onOutcome),
    append: (entry) => real.append(entry),
    settleReject: (reject) => real.settleReject(reject),
    receiptFor: (device) => real.receiptFor(device),
    bootsOf: (device) => real.bootsOf(device),
  };
}

/** The signature with its S modulo L. */
function reduced(signature: Uint8Array): Uint8Array {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const s = BigInt(`0x${Buffer.from(signature.slice(32)).reverse().toString('hex')}`) % order;
  const bytes = Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse();
  return Uint8Array.from(Buffer.concat([signature.slice(0, 32), bytes]));
}
