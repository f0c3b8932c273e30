import { createHash } from 'node:crypto';
import { Counters } from '@fieldproof/broker/gate/counters';
import { judge, type Submission } from '@fieldproof/broker/gate/rules';
import { judgeTopic } from '@fieldproof/broker/gate/topic-rules';
import { digestOf, judgementOf, packJob, runJob } from '@fieldproof/broker/gate/verify-job';
import { judgeConnect } from '@fieldproof/broker/mqtt/connect-rules';
import { PacketGuard } from '@fieldproof/broker/mqtt/guard';
import { maySubscribe } from '@fieldproof/broker/mqtt/hooks/authorize-subscribe';
import { Nonces } from '@fieldproof/broker/nonces';
import { RateLimiter } from '@fieldproof/broker/rate-limit';
import { encode } from '@fieldproof/protocol/cbor';
import { kidOf } from '@fieldproof/protocol/ed25519';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import { encodeEdgeResult } from '@fieldproof/protocol/edge-result';
import type { Signer } from '@fieldproof/protocol/envelope';
import { keyRingOf } from '@fieldproof/protocol/key-ring';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { TestDevice } from './support/device.ts';

const NETWORK = 'testnet1';
const device = new TestDevice({ http: '', mqtt: '', network: NETWORK });
const context = { network: NETWORK, verify };

function submission(changes: Partial<Submission> = {}): Submission {
  return {
    envelope: device.seal(),
    kind: 'telemetry',
    publicKey: device.signer.publicKey,
    kid: kidOf(device.signer.publicKey),
    history: null,
    standing: 'good',
    at: Date.now(),
    diagnose: true,
    ...changes,
  };
}

describe('judge', () => {
  test('a good envelope has a stamp and no fault', () => {
    const { stamp, fault } = judge(submission(), context);
    expect(fault).toBeNull();
    expect(stamp).toMatchObject({ bootCounter: 1 });
  });

  test('no byte of a good envelope can change', () => {
    const good = device.seal();
    for (let at = 0; at < good.length; at++) {
      for (const bit of [1, 0x80]) {
        const envelope = Uint8Array.from(good);
        envelope[at] = envelope[at]! ^ bit;
        expect(judge(submission({ envelope }), context)).toMatchObject({ stamp: null });
      }
    }
  });

  test('no prefix and no extension of a good envelope passes', () => {
    const good = device.seal();
    for (let length = 0; length < good.length; length++) {
      const envelope = good.subarray(0, length);
      expect(judge(submission({ envelope }), context).stamp).toBeNull();
    }
    const envelope = Uint8Array.from([...good, 0]);
    expect(judge(submission({ envelope }), context).fault?.code).toBe('ERR_CBOR_MALFORMED');
  });

  test('any bytes at all are judged, never thrown', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (envelope) => {
        expect(judge(submission({ envelope }), context).stamp).toBeNull();
      }),
    );
  });

  test.each([
    ['suspended', 'ERR_SUSPENDED'],
    ['expired', 'ERR_CREDENTIAL_EXPIRED'],
  ] as const)(
    'a device that is %s is told so before its signature is looked at',
    (standing, code) => {
      const envelope = device.seal();
      envelope[envelope.length - 1]! ^= 1;
      expect(judge(submission({ envelope, standing }), context).fault?.code).toBe(code);
    },
  );

  test('the wrong kind is told only when there is room for the diagnosis', () => {
    const wrong = { envelope: device.seal(), kind: 'event' } as const;
    expect(judge(submission(wrong), context).fault?.code).toBe('ERR_WRONG_KIND');
    const short = submission({ ...wrong, diagnose: false });
    expect(judge(short, context).fault?.code).toBe('ERR_SIGNATURE_INVALID');
  });

  test('a result of edge functions has the times of its raw readings judged as well', () => {
    const at = Date.now();
    const code = (
      lastMs: number,
      boundMs: number | null,
      changes: { readonly kind?: 'result' | 'telemetry' | 'event'; readonly cut?: number } = {},
    ): string | undefined => {
      const { kind = 'result', cut } = changes;
      const payload = encodeEdgeResult({
        ...{ format: 65001, readings: new Uint8Array() },
        raw: { from: 3, to: 4, root: new Uint8Array(32) },
        streams: [
          {
            ...{ profile: 'air', metric: 'temp', definition: encode([['rate-1', {}]]), count: 2 },
            ...{ fromUs: (lastMs - 5) * 1000, toUs: lastMs * 1000 },
            ...{ before: null, after: new Uint8Array(32) },
          },
        ],
      }).slice(0, cut);
      const envelope = device.seal({ kind, contentType: 65002, payload, boundMs });
      return judge(submission({ envelope, kind, at }), context).fault?.code;
    };
    expect(code(at, 20)).toBeUndefined();
    expect(code(-1000, null)).toBeUndefined();
    expect(code(at + 6000, 20)).toBe('ERR_TIME_FUTURE');
    expect(code(-1000, 20)).toBe('ERR_TIME_RELATIVE');
    expect(code(at, null)).toBe('ERR_TIME_UNSYNCED');
    expect(code(at, 20, { cut: -1 })).toBe('ERR_CBOR_MALFORMED');
    expect(code(at, 20, { kind: 'telemetry' })).toBe('ERR_MESSAGE_MALFORMED');
    expect(code(at, 20, { kind: 'event' })).toBe('ERR_MESSAGE_MALFORMED');
  });

  test('a boot is signed with its own key: the replaced one below firstBoot, and in time', () => {
    const next = signerFromSeed(new Uint8Array(32).fill(7));
    const at = Date.now();
    const ring = keyRingOf({
      publicKey: next.publicKey,
      firstBoot: 5,
      retired: [{ publicKey: device.signer.publicKey, firstBoot: 0, endBoot: 5, until: at + 1000 }],
    });
    const code = (signer: Signer, bootCounter: number, changes: Partial<Submission> = {}) => {
      const envelope = device.seal({ signer, bootCounter });
      return judge(submission({ ...ring, envelope, at, ...changes }), context).fault?.code;
    };
    expect(code(next, 5)).toBeUndefined();
    expect(code(device.signer, 4)).toBeUndefined();
    expect(code(device.signer, 4, { at: at + 1000 })).toBe('ERR_KEY_RETIRED');
    expect(code(device.signer, 5)).toBe('ERR_KEY_RETIRED');
    expect(code(next, 4)).toBe('ERR_KEY_RETIRED');
    expect(code(signerFromSeed(new Uint8Array(32).fill(8)), 5)).toBe('ERR_KEY_UNKNOWN');
    // Whoever signs under the kid of a replaced key must have that key.
    const forger = { publicKey: device.signer.publicKey, sign: next.sign };
    expect(code(forger, 4)).toBe('ERR_SIGNATURE_INVALID');
    expect(code(device.signer, 4, { kind: 'event' })).toBe('ERR_WRONG_KIND');
  });

  test('a job judges as one by one', () => {
    const bad = device.seal();
    bad[bad.length - 1]! ^= 1;
    const history = {
      firstBoot: 2,
      retired: [
        {
          publicKey: device.signer.publicKey,
          kid: kidOf(device.signer.publicKey),
          firstBoot: 0,
          endBoot: 2,
          until: Date.now() + 60_000,
        },
      ],
    };
    const next = signerFromSeed(new Uint8Array(32).fill(7)).publicKey;
    const all = [
      submission(),
      submission({ publicKey: next, kid: kidOf(next), history }),
      submission({ envelope: bad }),
      submission({ history }),
      submission({ kind: 'birth' }),
    ];
    expect(judge(all[1]!, context).fault).toBeNull();
    expect(judge(all[3]!, context).fault?.code).toBe('ERR_KEY_RETIRED');
    const result = runJob(packJob(1, all), context);
    all.forEach((one, i) => {
      expect(judgementOf(result, i)).toEqual(judge(one, context));
      const digest = createHash('sha256').update(one.envelope).digest();
      expect(Buffer.from(digestOf(result, i))).toEqual(digest);
    });
  });
});

describe('judgeTopic', () => {
  const session = { network: NETWORK, deviceId: device.id };
  const own = device.topic('telemetry');
  test.each([
    [own, false, 1, null],
    [own, true, 2, 'ERR_RETAINED'],
    [own, false, 2, 'ERR_QOS'],
    [own.replace(NETWORK, 'other'), true, 2, 'ERR_WRONG_NETWORK'],
    [`${own}/more`, false, 1, 'ERR_TOPIC_FORBIDDEN'],
    [device.topic('state'), false, 1, 'ERR_TOPIC_FORBIDDEN'],
    ['', false, 1, 'ERR_TOPIC_FORBIDDEN'],
  ])('%s, retain %s, QoS %s: %s', (topic, retain, qos, code) => {
    const verdict = judgeTopic({ topic, retain, qos }, session);
    expect(verdict.ok ? null : verdict.code).toBe(code);
  });
});

test('a tally that could not be recorded is in the next one', () => {
  const counters = new Counters();
  counters.countRejected('ERR_QOS');
  const taken = counters.takeTally();
  counters.countRejected('ERR_QOS');
  counters.returnTally(taken);
  expect(counters.takeTally()).toEqual([['ERR_QOS', 2]]);
  expect(counters.takeTally()).toEqual([]);
});

describe('nonces', () => {
  let time = 1_790_000_000_000;
  let counter = 0;
  const nonces = new Nonces({
    now: () => time,
    random: (length) => Uint8Array.from({ length }, () => counter++ & 0xff),
  });

  test('a nonce is good once, for 60 s', () => {
    const nonce = nonces.issue();
    expect(nonce).toHaveLength(32);
    time += 60_000;
    expect(nonces.use(nonce)).toBe(time - 60_000);
    expect(() => nonces.use(nonce)).toThrow('already used');
    const late = nonces.issue();
    time += 60_001;
    expect(() => nonces.use(late)).toThrow('expired');
  });

  test('a clock that steps back brings no used nonce to life', () => {
    const nonce = nonces.issue();
    nonces.use(nonce);
    const start = time;
    time += 61_000;
    nonces.use(nonces.issue());
    time = start + 1;
    expect(() => nonces.use(nonce)).toThrow('not issued here');
    expect(nonces.use(nonces.issue())).toBe(time);
  });

  test('a clock that steps back far ends the nonces from the time before', () => {
    const nonce = nonces.issue();
    time -= 3_600_000;
    expect(() => nonces.use(nonce)).toThrow('not issued here');
    expect(nonces.use(nonces.issue())).toBe(time);
  });

  test('no bit of a nonce can change', () => {
    const nonce = nonces.issue();
    for (let bit = 0; bit < 256; bit++) {
      const changed = Uint8Array.from(nonce);
      changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7));
      expect(() => nonces.use(changed)).toThrow();
    }
    expect(nonces.use(nonce)).toBe(time);
  });
});

describe('the rest', () => {
  test('a bucket gives its burst, then its rate', () => {
    let time = 0;
    const limiter = new RateLimiter({ perSecond: 2, burst: 3 }, () => time);
    expect([1, 2, 3].map(() => limiter.take('a'))).toEqual([0, 0, 0]);
    expect(limiter.take('a')).toBe(500);
    expect(limiter.take('b')).toBe(0);
    time = 500;
    expect(limiter.take('a')).toBe(0);
  });

  test('session rules', () => {
    const good = { clientId: device.id, username: device.id, clean: true, hasWill: false };
    expect(judgeConnect(good)).toBe(0);
    expect(judgeConnect({ ...good, hasWill: true })).toBe(5);
    expect(judgeConnect({ ...good, clean: false })).toBe(2);
    expect(judgeConnect({ ...good, username: undefined })).toBe(4);
    expect(judgeConnect({ ...good, username: 'z6Mk' })).toBe(4);
    expect(judgeConnect({ ...good, clientId: 'x', username: 'x' })).toBe(5);
  });

  test('filters', () => {
    const self = { network: NETWORK, deviceId: device.id };
    for (const kind of ['+', 'state', 'receipt', 'relay-down']) {
      expect(maySubscribe(device.topic(kind), self)).toBe(true);
    }
    for (const filter of [
      device.topic('birth'),
      device.topic(''),
      device.topic('state/'),
      device.topic('x').replace(`/${NETWORK}/`, '/other/'),
      `${device.topic('state')}/x`,
      'fp/1',
      '#',
      '+/+/+/+/+/+',
      `$share/g/${device.topic('+')}`,
    ]) {
      expect(maySubscribe(filter, self)).toBe(false);
    }
  });

  test('the guard hands on the same bytes however they are cut', () => {
    const connect = Buffer.from('101100044d5154540402003c000570726f6265', 'hex');
    const stream = Buffer.concat([connect, Buffer.from('300400016178c0003206000161000178', 'hex')]);
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length), { maxLength: 12 }), (cuts) => {
        const guard = new PacketGuard({ maxConnectBytes: 512, maxPacketBytes: 1024 });
        const ends = [...cuts, stream.length].sort((a, b) => a - b);
        const out: Buffer[] = [];
        let at = 0;
        for (const end of ends) {
          let chunk = stream.subarray(at, end);
          do {
            const result = guard.push(chunk);
            expect(result === null || Buffer.isBuffer(result)).toBe(true);
            if (Buffer.isBuffer(result)) out.push(Buffer.from(result));
            chunk = stream.subarray(0, 0);
          } while (guard.isWaiting);
          at = end;
        }
        expect(Buffer.concat(out).equals(stream)).toBe(true);
      }),
    );
  });

  test('what comes before an offence is handed on first', () => {
    const connect = Buffer.from('101100044d5154540402003c000570726f6265', 'hex');
    const guard = new PacketGuard({ maxConnectBytes: 512, maxPacketBytes: 1024 });
    guard.push(connect);
    for (const offence of ['0000', 'c00100', connect.toString('hex'), '30ffffffffff', '30808001']) {
      const chunk = Buffer.from(`c000e000${offence}c000`, 'hex');
      expect(guard.push(chunk)).toEqual(Buffer.from('c000e000', 'hex'));
      expect(guard.isWaiting).toBe(true);
      expect(guard.push(guard.takeHeld())).toMatchObject({ clause: expect.any(String) });
    }
  });
});
