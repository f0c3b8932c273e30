/** One logged-in connection of a device, as the gate sees it. */

import type { KeyRing } from '@fieldproof/protocol/key-ring';
import type { DownKind, UpKind } from '@fieldproof/protocol/topics';
import type { Rate } from './rates.ts';
import type { Fault, Judgement, Standing } from './rules.ts';

/** Keys and standing of a device. */
export interface DeviceKey extends KeyRing {
  readonly standing: Standing;
}

/** A PUBLISH on its way through the gate. */
export interface Slot {
  readonly kind: UpKind | null;
  readonly envelope: Uint8Array;
  readonly at: number;
  judgement: Judgement | null;
  digest: Uint8Array | null;
  settled: boolean;
  readonly done: () => void;
  /** Of kind `relay`: what is inside, once that is judged too. */
  inside?: Inside;
  /** Why it was refused. */
  refused?: Fault;
}

/** What a `relay` envelope carries, to be judged as if the leaf had sent it. */
export interface Inside {
  readonly leaf: Session;
  readonly slot: Slot;
}

export interface Session {
  readonly deviceId: string;
  /** The key in the device id, which names the device in log entries. */
  readonly deviceKey: Uint8Array;
  /** Server nonce of the login as latin1 text, and when it was issued, Unix ms. */
  readonly nonce: string;
  readonly nonceIssuedAt: number;
  /** Of the key that signed the login. */
  readonly kid: Uint8Array;
  /** The key in the id of the gateway that carries this one envelope of a leaf: no session, but judged like one. */
  readonly gateway?: Uint8Array;
  /** PUBLISHes not yet acknowledged, in their order; those before `judged` have a verdict. */
  readonly slots: Slot[];
  judged: number;
  /** What it may still send; from its first message on. */
  rate?: Rate;
  /** The topic last judged to be one of the device's own, and its kind. */
  topic?: { readonly name: string; readonly kind: UpKind };
  /** The boot seed last seen, as a big-endian uint32 and as bytes. */
  seed?: { readonly number: number; readonly bytes: Uint8Array };
}

/** Publishes a signed message to a device; calls back when the broker has it, at once when it is offline. */
export type PublishDown = (
  deviceId: string,
  kind: DownKind,
  options: { readonly envelope: Uint8Array; readonly done?: () => void },
) => boolean;
