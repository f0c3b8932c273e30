/**
 * Envelopes without sockets: hostile batches through gate and evidence log, against the second judge and against what
 * the log then holds: what is acceptable, once each, acknowledged in order and not before it is durable.
 */

import { createHash } from 'node:crypto';
import type { Session } from '@fieldproof/broker/gate/session';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { parseEnvelope, type Verify } from '@fieldproof/protocol/envelope';
import { decodeReject, type Reject } from '@fieldproof/protocol/settlement-messages';
import type { Chance } from '../chance.ts';
import { Finding, type Found } from '../finding.ts';
import {
  type ExpectedLeaf,
  type ExpectedVerdict,
  ExpectedVerdicts,
  topicOf,
} from './expected-verdicts.ts';
import { GateBench, type GateParts, type Recorded } from './gate-bench.ts';
import { type Author, hostileBatch, type Submitted } from './hostile-envelopes.ts';

const NETWORK = 'fuzznet1';
const NOW = 1_795_262_400_000;
const SIGNERS = [1, 2, 3, 4, 5].map((n) => signerFromSeed(new Uint8Array(32).fill(n)));
const KIDS = SIGNERS.map(({ publicKey }) => digestOf(publicKey).subarray(0, 8));
/** Cases until a new log is begun. */
const CASES_PER_LOG = 1024;

interface OpenCase {
  readonly number: number;
  readonly items: readonly Item[];
  /** The key of the gateway that brought all of it, or null. */
  readonly gateway: Uint8Array | null;
}

type Item = Submitted & ExpectedVerdict;

export class EnvelopeCases {
  private readonly parts: GateParts;
  private readonly verifiers: readonly Verify[];
  private bench: Promise<GateBench> | null = null;
  /** Of the cases whose entries are not yet compared, by device key. */
  private readonly open = new Map<string, OpenCase>();
  private cases = 0;

  constructor(parts: GateParts, verifiers: readonly Verify[]) {
    this.parts = parts;
    this.verifiers = verifiers;
  }

  /** One case, until everything that it sent is acknowledged. */
  async run(number: number, chance: Chance): Promise<void> {
    this.bench ??= GateBench.open(this.parts);
    const bench = await this.bench;
    this.cases += 1;
    const me = chance.int(SIGNERS.length - 1);
    const signer = SIGNERS[me]!;
    // Of its own, so that cases do not meet in the log; its key may be another, as after a rotation.
    const deviceKey = chance.bytes(32);
    const deviceId = deviceIdFromPublicKey(deviceKey);
    const nonce = chance.bytes(32);
    const made = new Set<string>();
    const others = SIGNERS.filter((other) => other !== signer);
    const alike = { network: NETWORK, nonce, made, now: NOW };
    const calculates = chance.oneIn(16);
    // The gate reads the key in the id of a leaf: it has to be one.
    const leafKey = signerFromSeed(chance.bytes(32)).publicKey;
    const leafId = deviceIdFromPublicKey(leafKey);
    // A third of them are gateways. Their leaves are as hostile, and use the nonce of a session that is not theirs.
    const leaf = chance.oneIn(3) ? aLeaf(leafId, { me, chance, alike, calculates }) : null;
    const carries = leaf && { id: leafId, carried: leaf.carried };
    const batch = hostileBatch({ ...alike, signer, others, leaf: carries }, chance);
    const { keys, context } = keysOf(me, chance);
    const judge = new ExpectedVerdicts(
      { ...{ network: NETWORK, at: NOW, made, calculates }, ...context },
      { nonce, leaf: leaf?.expected ?? null },
    );
    const items: readonly Item[] = batch.map((each) => ({ ...each, ...judge.next(each) }));
    const insides = items.flatMap(({ inside }) => inside ?? []);
    this.open.set(hex(deviceKey), { number, items, gateway: null });
    this.open.set(hex(leafKey), { number, items: insides, gateway: deviceKey });

    const rejects = { own: [] as Reject[], leaf: [] as Reject[] };
    const shuffled = chance.oneIn(2) ? new Shuffler(chance) : null;
    const { gate, counters } = bench.gate({
      ...{ network: NETWORK, signer: SIGNERS[4]!, now: NOW, digestOf },
      verify: chance.pick(this.verifiers),
      deviceKey: (id) => (id === deviceId ? keys : id === leafId ? (leaf?.keys ?? null) : null),
      relayProblem: (of, by) =>
        of === leafId && by === deviceId ? (leaf?.problem ?? null) : 'not-named',
      mayDiagnose: chance.oneIn(4),
      later: shuffled && ((answer) => shuffled.later(answer)),
      publishDown: (to, kind, { envelope, done }) => {
        const heard = to === leafId ? rejects.leaf : rejects.own;
        if (kind === 'reject') heard.push(decodeReject(parseEnvelope(envelope).payload));
        if (chance.oneIn(2)) done?.();
        else setImmediate(() => done?.());
        return true;
      },
    });
    const session: Session = {
      ...{ deviceId, deviceKey, nonce: Buffer.from(nonce).toString('latin1') },
      ...{ nonceIssuedAt: NOW - 1000, kid: KIDS[me]!, slots: [], judged: 0 },
    };
    await this.submit(items, chance, (item, index, acknowledged) => {
      const self = {
        network: NETWORK,
        deviceId,
        otherId: deviceIdFromPublicKey(others[0]!.publicKey),
      };
      const { envelope, retain, qos } = item;
      gate.receive(session, { topic: topicOf(item, self), retain, qos, envelope }, () => {
        const isDurable = [item, ...(item.inside ? [item.inside] : [])].every(
          ({ outcome, digest }) => outcome !== 'accepted' || bench.isDurable(digest),
        );
        acknowledged(index, isDurable);
      });
    });
    checkRejects(items, rejects.own);
    checkRejects(insides, rejects.leaf);
    const { received, accepted, duplicate, rejected, inFlight } = counters.values();
    const all = [...items, ...insides];
    const of = (outcome: string) => all.filter((item) => item.outcome === outcome).length;
    const [is, be] = [
      [received, accepted, duplicate, rejected, inFlight],
      [all.length, of('accepted'), of('duplicate'), of('rejected'), 0],
    ].map((list) => list!.join(' '));
    if (is !== be) throw new Finding(`counters: expected ${be}, got ${is}`, describe(items));
    if (session.slots.length > 0)
      throw new Finding('session: keeps settled slots', describe(items));
  }

  /** Compares what the log holds with what it must hold. Between runs. */
  async settle(): Promise<Found[]> {
    if (this.bench === null) return [];
    const byDevice = new Map<string, Recorded[]>();
    for (const recorded of await (await this.bench).newEntries()) {
      if (!('device' in recorded.entry)) continue;
      const device = hex(recorded.entry.device);
      byDevice.set(device, [...(byDevice.get(device) ?? []), recorded]);
    }
    const found: Found[] = [];
    for (const [device, { number, items, gateway }] of this.open) {
      const message = compareLog(items, byDevice.get(device) ?? [], gateway);
      byDevice.delete(device);
      if (message !== null) {
        found.push({ area: 'envelopes', number, message, input: describe(items) });
      }
    }
    for (const device of byDevice.keys()) {
      const message = `log: entries of a device that sent nothing, ${device}`;
      found.push({ area: 'envelopes', number: -1, message, input: '' });
    }
    this.open.clear();
    if (this.cases >= CASES_PER_LOG) {
      this.cases = 0;
      await this.close();
    }
    return found;
  }

  async close(): Promise<void> {
    await (await this.bench)?.close();
    this.bench = null;
  }

  /**
   * Sends a batch and waits for every acknowledgement: all at once, with turns of the loop between, or each item from
   * within an acknowledgement of one before it, as Aedes does, which reads on as soon as it is told that it may.
   */
  private async submit(
    items: readonly (Submitted & ExpectedVerdict)[],
    chance: Chance,
    send: (
      item: Submitted & ExpectedVerdict,
      index: number,
      acknowledged: (index: number, isDurable: boolean) => void,
    ) => void,
  ): Promise<void> {
    let sent = 0;
    let next = 0;
    const problems: string[] = [];
    const isSlow = chance.oneIn(4);
    const pauses = items.map(() => isSlow && chance.oneIn(2));
    const isNested = chance.oneIn(2);
    const nested = items.map(() => isNested && chance.oneIn(2));
    let finish = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    // Which boot of a counter was first is settled when that one is durable: settlement.md 2.2.
    // What is inside a relay is recorded before it: what comes behind may be recorded in between.
    const isCloned = ({ codes, inside }: Item) =>
      [...codes, ...(inside?.codes ?? [])].includes('ERR_BOOT_CLONED');
    const mustWait = () =>
      next < sent &&
      (isCloned(items[sent]!) || items.slice(next, sent).some(({ inside }) => inside));
    const sendNext = () => {
      const at = sent;
      sent += 1;
      send(items[at]!, at, (index, isDurable) => {
        if (index !== next) problems.push(`acknowledged ${index} instead of ${next}`);
        if (!isDurable) problems.push(`acknowledged ${index} before it was recorded`);
        next += 1;
        while (sent < items.length && nested[sent] && !mustWait()) sendNext();
        if (next === items.length) finish();
      });
    };
    while (sent < items.length) {
      const isLeftToAcknowledgement = nested[sent] && next < sent;
      if (isLeftToAcknowledgement || mustWait()) {
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      const at = sent;
      sendNext();
      if (pauses[at]) await new Promise((resolve) => setImmediate(resolve));
    }
    await finished;
    await new Promise((resolve) => setImmediate(resolve));
    if (next > items.length) problems.push('acknowledged twice');
    if (problems.length > 0) throw new Finding(`PUBACK: ${problems[0]}`, describe(items));
  }
}

/** Keys of a device as the gate has them, and as the second judge does; a third has had another one. */
function keysOf(me: number, chance: Chance) {
  const { publicKey } = SIGNERS[me]!;
  const old = chance.oneIn(3) ? (me + 1) % (SIGNERS.length - 1) : null;
  const retired = old === null ? null : retiredKey(old, chance);
  const history = retired && { firstBoot: retired.endBoot, retired: [retired] };
  const keys = { publicKey, kid: KIDS[me]!, history, standing: 'good' as const };
  return { keys, context: { publicKey, retired } };
}

/** A leaf with what it has sealed, and what became of its delegation. */
function aLeaf(
  id: string,
  {
    me,
    chance,
    alike,
    calculates,
  }: {
    readonly me: number;
    readonly chance: Chance;
    readonly alike: Pick<Author, 'network' | 'nonce' | 'made' | 'now'>;
    readonly calculates: boolean;
  },
) {
  const own = (me + 1 + chance.int(SIGNERS.length - 2)) % (SIGNERS.length - 1);
  const signer = SIGNERS[own]!;
  const others = SIGNERS.filter((other) => other !== signer);
  const carried = hostileBatch({ ...alike, signer, others, leaf: null }, chance);
  const { keys, context } = keysOf(own, chance);
  const verdicts = new ExpectedVerdicts(
    { ...{ network: NETWORK, at: NOW, made: alike.made, calculates }, ...context },
    { nonce: null, leaf: null },
  );
  const delegation: ExpectedLeaf['delegation'] = chance.oneIn(4)
    ? chance.pick(['not named', 'expired', 'unknown'])
    : 'in force';
  const problems = { 'in force': null, 'not named': 'not-named', expired: 'expired' } as const;
  return {
    carried,
    expected: { id, delegation, verdicts },
    keys: delegation === 'unknown' ? null : keys,
    problem: delegation === 'unknown' ? null : problems[delegation],
  };
}

/** A key that the device had before: for its first boots, and for a while. */
function retiredKey(signer: number, chance: Chance) {
  const { publicKey } = SIGNERS[signer]!;
  const until = NOW + (chance.oneIn(3) ? 0 : 1);
  return { publicKey, kid: KIDS[signer]!, firstBoot: 0, endBoot: 1 + chance.int(3), until };
}

/** Answers in another order than asked. */
class Shuffler {
  private readonly chance: Chance;
  private waiting: (() => void)[] = [];

  constructor(chance: Chance) {
    this.chance = chance;
  }

  later(answer: () => void): void {
    this.waiting.splice(this.chance.int(this.waiting.length + 1), 0, answer);
    if (this.waiting.length > 1) return;
    setImmediate(() => {
      const answers = this.waiting;
      this.waiting = [];
      for (const each of answers) each();
    });
  }
}

/** Every refusal has its reject, with a code that fits. */
export function checkRejects(
  items: readonly (Submitted & ExpectedVerdict)[],
  rejects: readonly Reject[],
): void {
  const expected = items.filter(({ outcome }) => outcome === 'rejected');
  if (expected.length !== rejects.length) {
    const counts = `expected ${expected.length}, got ${rejects.length}`;
    throw new Finding(`rejects: ${counts}: ${codesOf(rejects)}`, describe(items));
  }
  const left = [...rejects];
  for (const { digest, codes, parts, how } of expected) {
    const at = left.findIndex((each) => hex(each.digest) === digest && codes.includes(each.code));
    const [reject] = at < 0 ? [] : left.splice(at, 1);
    if (reject === undefined) {
      const wanted = `${how}: expected ${codes.join(' or ')}`;
      throw new Finding(`rejects: ${wanted}, got ${codesOf(rejects)}`, describe(items));
    }
    // What is not authentic names no boot and no seq: settlement.md 4.1.
    if (parts === null && (reject.boot !== null || reject.seq !== null)) {
      throw new Finding(`reject: ${reject.code} names what nobody vouches for`, describe(items));
    }
  }
}

/** What is wrong with the entries of a device, or null. */
export function compareLog(
  items: readonly (Submitted & ExpectedVerdict)[],
  recorded: readonly Recorded[],
  gateway: Uint8Array | null = null,
): string | null {
  const batches = recorded.flatMap(({ entry, body }) =>
    entry.type === 'batch' ? [{ entry, body }] : [],
  );
  const expected = items.filter(({ outcome }) => outcome === 'accepted');
  const is = batches.map(({ entry }) => hex(entry.digest));
  const be = expected.map(({ digest }) => digest);
  const forged = is.filter((digest) => !be.includes(digest));
  if (forged.length > 0) return `log: holds what is not acceptable, ${forged.length} of them`;
  if (new Set(is).size !== is.length) return 'log: holds an envelope twice';
  if (is.join() !== be.join())
    return `log: holds ${is.length} of ${be.length}, or in another order`;
  for (const [index, { entry, body }] of batches.entries()) {
    const { kind, envelope, parts } = expected[index]!;
    const isSame =
      Buffer.from(body).equals(envelope) &&
      entry.kind === kind &&
      entry.seq === parts!.seq &&
      entry.bootCounter === parts!.bootCounter &&
      hex(entry.bootSeed) === hex(parts!.bootSeed) &&
      entry.size === envelope.length &&
      (entry.gateway === null
        ? gateway === null
        : hex(entry.gateway) === hex(gateway ?? Buffer.of()));
    if (!isSame) return 'log: an entry says other things than its envelope';
  }
  const anchors = recorded.filter(({ entry }) => entry.type === 'time-anchor').length;
  const fresh = items.filter(({ isFresh }) => isFresh).length;
  return anchors === fresh ? null : `log: expected ${fresh} time anchors, got ${anchors}`;
}

function codesOf(rejects: readonly Reject[]): string {
  return rejects.map(({ code }) => code).join(', ') || 'none';
}

/** A batch, for whoever looks into a finding. */
export function describe(items: readonly (Submitted & ExpectedVerdict)[]): string {
  return items
    .map(({ how, kind, outcome, codes, envelope }) => {
      const bytes = Buffer.from(envelope.subarray(0, 400)).toString('hex');
      return `${how} (${kind}: ${outcome} ${codes.slice(0, 2).join('|')}) ${bytes}`;
    })
    .join('\n');
}

function digestOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
