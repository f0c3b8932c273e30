/** What an attacker, a broken device or a good one sends: the submissions of one case. */

import type { Signer } from '@fieldproof/protocol/envelope';
import { UP_KINDS, type UpKind } from '@fieldproof/protocol/topics';
import type { Chance } from '../chance.ts';
import { bstr, type Node, writeNode } from './cbor-tree.ts';
import { goodLetter, type Inside, type Letter, sealLetter } from './letters.ts';
import { mutateTree } from './tree-mutations.ts';

/** One PUBLISH. */
export interface Submitted {
  readonly envelope: Uint8Array;
  /** Under whose kind it is published. */
  readonly kind: UpKind;
  /** Topic in place of the device's own; flags. */
  readonly topic: 'own' | 'other device' | 'other network' | 'no kind' | 'junk';
  readonly retain: boolean;
  readonly qos: 0 | 1 | 2;
  /** Which of the session nonces it was sealed for does not matter here: it is in the payload. */
  readonly how: string;
}

export interface Author {
  readonly network: string;
  readonly signer: Signer;
  /** Another enrolled device's, and one that nobody knows. */
  readonly others: readonly Signer[];
  readonly nonce: Uint8Array;
  readonly now: number;
  readonly made: Set<string>;
  /** Of a gateway: its leaf, and what that has sealed. */
  readonly leaf: { readonly id: string; readonly carried: readonly Submitted[] } | null;
}

interface Boot {
  readonly bootCounter: number;
  readonly bootSeed: Uint8Array;
  seq: number;
}

const KINDS = Object.keys(UP_KINDS) as UpKind[];
/** L of Ed25519. */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const SMALL_ORDER = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0100000000000000000000000000000000000000000000000000000000000080',
].map((hex) => Buffer.from(hex, 'hex'));

/** The submissions of a case, in order. */
export function hostileBatch(author: Author, chance: Chance): Submitted[] {
  const boots: Boot[] = Array.from({ length: 1 + chance.int(3) }, (_, i) => ({
    bootCounter: 1 + i + (chance.oneIn(8) ? chance.odd() % 2 ** 31 : 0),
    bootSeed: chance.bytes(4),
    seq: 0,
  }));
  const list: Submitted[] = [];
  const count = chance.oneIn(40) ? 20 : 2 + chance.int(6);
  for (let i = 0; i < count; i++) {
    const boot = chance.pick(boots);
    list.push(one(author, { boot, boots, earlier: list }, chance));
  }
  return list;
}

interface Scene {
  readonly boot: Boot;
  readonly boots: Boot[];
  readonly earlier: readonly Submitted[];
}

function one(author: Author, scene: Scene, chance: Chance): Submitted {
  const isRelay = author.leaf !== null && chance.oneIn(2);
  const kind = isRelay ? 'relay' : chance.oneIn(3) ? 'telemetry' : chance.pick(KINDS);
  const seq = chance.oneIn(8) ? chance.odd() : scene.boot.seq++;
  const { bootCounter, bootSeed } = scene.boot;
  const { network, signer, now, made } = author;
  const nonce = chance.oneIn(3) ? null : chance.oneIn(4) ? chance.bytes(32) : author.nonce;
  const fields = {
    kind,
    network,
    publicKey: signer.publicKey,
    bootCounter,
    bootSeed,
    seq,
    nonce,
    now,
    inside: author.leaf && (() => insideOf(author.leaf!, chance)),
  };
  const letter = () => goodLetter(fields, chance);
  const sealed = (what: Letter, by = signer) => sealLetter(what, { signer: by, made });
  const send = (
    how: string,
    node: Node | Uint8Array,
    more: Partial<Submitted> = {},
  ): Submitted => ({
    ...{ kind, topic: 'own', retain: false, qos: 1, how },
    envelope: node instanceof Uint8Array ? node : writeNode(node),
    ...more,
  });
  const good = () => writeNode(sealed(letter()));
  const way = chance.int(30);
  const before = scene.earlier.length > 0 ? chance.pick(scene.earlier) : null;
  if (way < 8) return send('good', sealed(letter()));
  if (way < 10 && before !== null) return { ...before, how: `again: ${before.how}` };
  if (way < 13) {
    // Equivocation: this seq again, with another payload.
    if (scene.boot.seq > 1) fields.seq = chance.int(scene.boot.seq);
    return send('seq again', sealed(letter()));
  }
  if (way < 18) {
    const changed = letter();
    const times = 1 + chance.int(3);
    for (let i = 0; i < times; i++) {
      mutateTree(chance.oneIn(2) ? changed.header : changed.payload, chance);
    }
    return send('changed, then signed', sealed(changed));
  }
  if (way < 20) {
    const node = sealed(letter());
    mutateTree(node, chance);
    return send('signed, then changed', node);
  }
  if (way === 20) {
    // The inside exchanged under a signature that was good.
    const node = sealed(letter());
    const [head, , payload] = node.items![0]!.items!;
    const other = letter();
    if (chance.oneIn(2)) Object.assign(payload!, bstr(writeNode(other.payload)));
    else Object.assign(head!, bstr(writeNode(other.header)));
    return send('parts exchanged', node);
  }
  if (way === 21) {
    const bytes = good();
    const times = 1 + chance.int(3);
    for (let i = 0; i < times; i++) {
      const at = chance.int(bytes.length);
      bytes[at] = chance.oneIn(2) ? bytes[at]! ^ (1 << chance.int(8)) : chance.int(256);
    }
    return send('bytes flipped', bytes);
  }
  if (way === 22) {
    const bytes = good();
    if (chance.oneIn(2)) return send('cut', bytes.slice(0, chance.int(bytes.length)));
    const more = chance.oneIn(2) ? good() : chance.bytes(1 + chance.int(9));
    return send('more behind', Uint8Array.from(Buffer.concat([bytes, more])));
  }
  if (way === 23) return send('other kind', sealed(letter()), { kind: chance.pick(KINDS) });
  if (way === 24) {
    const other = { ...letter(), network: chance.pick(['', 'h7dz6lhl', `${network}x`]) };
    return send('other network', sealed(other));
  }
  if (way === 25) {
    const by = chance.pick(author.others);
    if (chance.oneIn(2)) fields.publicKey = by.publicKey;
    return send('other key', sealed(letter(), by));
  }
  if (way < 28) {
    const node = sealed(letter());
    const signature = node.items![0]!.items![3]!;
    signature.bytes = malleable(signature.bytes!, chance);
    return send('malleable signature', node);
  }
  if (way === 28) {
    const topic = chance.pick(['other device', 'other network', 'no kind', 'junk', 'own'] as const);
    const qos = chance.pick([0, 1, 2] as const);
    return send('topic and flags', sealed(letter()), { topic, qos, retain: chance.oneIn(4) });
  }
  // A counter with another seed: a clone. Or the very old and the very new.
  fields.bootCounter = chance.oneIn(2) ? bootCounter : chance.pick([0, 2 ** 32 - 1, 2 ** 31]);
  fields.bootSeed = chance.bytes(4);
  return send('other boot', sealed(letter()));
}

/** Mostly what the leaf has sealed, under its kind. */
function insideOf({ id, carried }: NonNullable<Author['leaf']>, chance: Chance): Inside {
  const { envelope, kind } = chance.pick(carried);
  return { leaf: id, kind: chance.oneIn(8) ? chance.pick(KINDS) : kind, envelope };
}

/** A signature that is none, or another for the same message. */
function malleable(signature: Uint8Array, chance: Chance): Uint8Array {
  const r = signature.slice(0, 32);
  const s = BigInt(`0x${Buffer.from(signature.slice(32)).reverse().toString('hex')}`);
  const way = chance.int(6);
  if (way === 0) return join(r, (s + ORDER) % 2n ** 256n);
  if (way === 1) return join(r, ORDER - s);
  if (way === 2) return join(chance.pick(SMALL_ORDER), chance.oneIn(2) ? 0n : s);
  if (way === 3) return join(r, 0n);
  if (way === 4) return join(chance.bytes(32), BigInt(chance.odd()));
  r[31] = r[31]! ^ 0x80;
  return join(r, s);
}

function join(r: Uint8Array, s: bigint): Uint8Array {
  const bytes = Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse();
  return Uint8Array.from(Buffer.concat([r, bytes]));
}
