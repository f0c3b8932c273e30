/** Good envelopes of every kind as trees, and the signing of whatever became of them. */

import { createHash } from 'node:crypto';
import { encode } from '@fieldproof/protocol/cbor';
import type { Signer } from '@fieldproof/protocol/envelope';
import type { UpKind } from '@fieldproof/protocol/topics';
import type { Chance } from '../chance.ts';
import {
  array,
  bstr,
  float,
  int,
  map,
  type Node,
  nil,
  tag,
  tstr,
  uint,
  writeNode,
} from './cbor-tree.ts';
import { signatureName, toBeSigned } from './strict-judge.ts';

/** An envelope before it is signed. */
export interface Letter {
  kind: UpKind;
  network: string;
  header: Node;
  payload: Node;
}

export interface LetterFields {
  readonly kind: UpKind;
  readonly network: string;
  readonly publicKey: Uint8Array;
  readonly bootCounter: number;
  readonly bootSeed: Uint8Array;
  readonly seq: number;
  /** Of the live session, for births. */
  readonly nonce: Uint8Array | null;
  /** Unix ms. */
  readonly now: number;
  /** What a gateway has to carry; else it carries junk. */
  readonly inside: (() => Inside) | null;
}

/** What is in a relay. */
export interface Inside {
  readonly leaf: string;
  readonly kind: string;
  readonly envelope: Uint8Array;
}

/** Profiles and metrics that readings are about. */
const NAMES = ['air/temp', 'air/rh', 'soil/moisture', 'pm2.5', 'air/co2', 'urn:dev:ow:1'];

/** A letter that every judge has to take. */
export function goodLetter(fields: LetterFields, chance: Chance): Letter {
  const { kind, network } = fields;
  const isSynced = !chance.oneIn(4);
  const { contentType, payload } = payloadOf(fields, chance, isSynced);
  const kid = createHash('sha256').update(fields.publicKey).digest().subarray(0, 8);
  const stamp = array(
    uint(fields.bootCounter),
    bstr(fields.bootSeed),
    uint(fields.seq),
    uint(chance.odd()),
    isSynced ? uint(chance.int(86_400_001)) : nil(),
  );
  const header = map(
    ...[uint(1), int(chance.oneIn(4) ? -8 : -19)],
    ...[uint(3), uint(contentType)],
    ...[uint(4), bstr(kid)],
    ...[int(-65_537), stamp],
  );
  return { kind, network, header, payload };
}

/** Signs a letter as it is; `made` learns the signature. */
export function sealLetter(
  letter: Letter,
  { signer, made }: { readonly signer: Signer; readonly made: Set<string> },
): Node {
  const protectedBytes = writeNode(letter.header);
  const payload = writeNode(letter.payload);
  const message = toBeSigned({ protectedBytes, payload }, letter);
  const signature = signer.sign(message);
  made.add(signatureName(signature, message, signer.publicKey));
  return tag(18, array(bstr(protectedBytes), map(), bstr(payload), bstr(signature)));
}

function payloadOf(
  fields: LetterFields,
  chance: Chance,
  isSynced: boolean,
): { readonly contentType: number; readonly payload: Node } {
  const { kind } = fields;
  if (kind === 'result' && chance.oneIn(3)) {
    return { contentType: 65_002, payload: edgeResult(fields, chance, isSynced) };
  }
  if (kind === 'telemetry' || (kind === 'result' && chance.oneIn(2))) {
    return chance.oneIn(3)
      ? { contentType: 65_001, payload: columns(fields, chance, isSynced) }
      : { contentType: 112, payload: senml(fields, chance, isSynced) };
  }
  return { contentType: 60, payload: messageOf(fields, chance) };
}

function messageOf({ kind, nonce, inside, ...boot }: LetterFields, chance: Chance): Node {
  if (kind === 'birth') {
    return sortedMap({
      nonce: nonce === null ? nil() : bstr(nonce),
      agent: tstr('fuzz 1'),
      source: tstr(chance.pick(['sensor', 'replay', 'simulated'])),
      profiles: sortedMap({ air: array(sortedMap({ metric: tstr('temp'), unit: tstr('Cel') })) }),
      capabilities: map(),
      rejectsSeen: array(
        ...Array.from({ length: chance.int(3) }, () =>
          array(uint(boot.bootCounter), bstr(boot.bootSeed), uint(chance.odd())),
        ),
      ),
      head: nil(),
    });
  }
  if (kind === 'gap') {
    const gaps = Array.from({ length: 1 + chance.int(3) }, () => {
      const from = chance.odd();
      const to = from + chance.int(1000);
      const counter = chance.oneIn(2) ? boot.bootCounter : chance.int(100);
      const reason = tstr('overflow');
      return array(
        uint(counter),
        bstr(boot.bootSeed),
        uint(from),
        uint(Math.min(to, 2 ** 53 - 1)),
        reason,
      );
    });
    return sortedMap({ gaps: array(...gaps) });
  }
  if (kind === 'relay') {
    if (inside !== null && !chance.oneIn(6)) {
      const carried = inside();
      return array(tstr(carried.leaf), tstr(carried.kind), bstr(carried.envelope));
    }
    const leaf = `z6Mk${chance.pick(['a', 'b'])}${'1'.repeat(43)}`;
    const of = chance.pick(['telemetry', 'event', 'relay', 'receipt']);
    return array(tstr(leaf), tstr(of), bstr(chance.bytes(chance.int(200))));
  }
  if (kind === 'event') {
    const detail = map(tstr('n'), uint(chance.odd()));
    return sortedMap({ event: tstr('heartbeat'), ...(chance.oneIn(2) && { detail }) });
  }
  return sortedMap({ task: bstr(chance.bytes(8)), value: number(chance) });
}

/** Records with base fields first, times in steps; always resolvable. */
function senml(fields: LetterFields, chance: Chance, isSynced: boolean): Node {
  const count = chance.oneIn(50) ? 1 + chance.int(300) : 1 + chance.int(4);
  const base = isSynced ? Math.floor(fields.now / 1000) - 600 : -600;
  const records: Node[] = [];
  for (let i = 0; i < count; i++) {
    const items: [number, Node][] = [];
    if (i === 0) {
      items.push([-3, int(base)], [-2, tstr(chance.pick(NAMES))]);
      if (chance.oneIn(2)) items.push([-4, tstr('Cel')]);
    }
    if (i > 0 && chance.oneIn(4)) items.push([-2, tstr(chance.pick(NAMES))]);
    items.push([6, chance.oneIn(3) ? decimal(chance.int(500), -1) : int(i)]);
    const what = chance.int(8);
    if (what === 0) items.push([3, tstr('open')]);
    else if (what === 1)
      items.push([4, { major: 7, argument: 20n + BigInt(chance.int(2)), width: 0 }]);
    else items.push([2, number(chance)]);
    records.push(labelled(items));
  }
  return array(...records);
}

function columns(fields: LetterFields, chance: Chance, isSynced: boolean): Node {
  const count = 1 + chance.int(5);
  const start = isSynced ? Math.floor(fields.now / 1000) - 600 : -600;
  const times = chance.oneIn(2)
    ? array(uint(10), uint(count))
    : tag(64, bstr(Uint8Array.from({ length: count }, (_, i) => i)));
  const metrics = ['temp', 'rh']
    .slice(0, 1 + chance.int(2))
    .map((name) =>
      array(tstr(name), tstr('Cel'), int(-2), int(2000), tag(72, bstr(chance.bytes(count)))),
    );
  return array(array(tstr('air'), int(start), times, array(...metrics)));
}

/** What edge functions gave: one or two streams, with or without results. */
function edgeResult(fields: LetterFields, chance: Chance, isSynced: boolean): Node {
  const base = isSynced ? Math.floor(fields.now / 1000) - 600 : -600;
  const results = array(
    ...['temp', 'temp.mean'].slice(chance.int(2)).map((metric, i) =>
      labelled([
        [0, tstr(`air/${metric}`)],
        [2, number(chance)],
        [6, int(base + i)],
      ]),
    ),
  );
  const isColumns = chance.oneIn(3);
  const readings = isColumns ? columns(fields, chance, isSynced) : results;
  const definition = array(
    array(tstr('window-1'), sortedMap({ lengthUs: uint(60_000_000) })),
    array(tstr('deadband-1'), sortedMap({ band: number(chance) })),
  );
  const names = isColumns ? ['air/temp', 'air/rh'] : ['air/temp', 'soil/moisture'];
  const streams = names.slice(0, isColumns ? 2 : 1 + chance.int(2)).map((name) => {
    const fromUs = base * 1e6 + chance.int(1e6);
    return array(
      ...[tstr(name), bstr(writeNode(definition))],
      ...[int(fromUs), int(fromUs + chance.int(599e6))],
      uint(1 + chance.int(100)),
      ...[chance.oneIn(3) ? nil() : bstr(chance.bytes(32)), bstr(chance.bytes(32))],
    );
  });
  const from = chance.int(2 ** 31);
  const isEmpty = chance.oneIn(4);
  return array(
    uint(isColumns || isEmpty ? 65_001 : 112),
    bstr(isEmpty ? new Uint8Array() : writeNode(readings)),
    array(uint(from), uint(from + chance.int(100)), bstr(chance.bytes(32))),
    array(...streams),
  );
}

function number(chance: Chance): Node {
  const what = chance.int(4);
  if (what === 0) return decimal(chance.int(100_000), -chance.int(4));
  if (what === 1) return shortFloat(chance.int(2000) / 8 + 0.5);
  return int(chance.int(200) - 100);
}

/** Tag 4; an integer where that is shorter is another tree. */
function decimal(mantissa: number, exponent: number): Node {
  return tag(4, array(int(exponent), int(mantissa)));
}

/** A float in its shortest form: by the encoder of the product, whose reading is what is fuzzed. */
function shortFloat(value: number): Node {
  const bytes = encode(value);
  const width = (bytes.length - 1) as 2 | 4 | 8;
  if (bytes[0]! >> 5 !== 7) return float(value);
  return {
    major: 7,
    argument: BigInt(`0x${Buffer.from(bytes.subarray(1)).toString('hex')}`),
    width,
  };
}

function sortedMap(fields: Readonly<Record<string, Node>>): Node {
  return sorted(Object.entries(fields).map(([key, value]) => [tstr(key), value]));
}

function labelled(items: readonly [number, Node][]): Node {
  return sorted(items.map(([label, value]) => [int(label), value]));
}

function sorted(pairs: readonly (readonly [Node, Node])[]): Node {
  const order = pairs.toSorted(([a], [b]) => Buffer.compare(writeNode(a), writeNode(b)));
  return map(...order.flat());
}
