/**
 * What a gateway carries: whether it may, and whether the envelope inside is the leaf's. docs/spec/messages.md section 6.
 *
 * The inside is judged by the rules for the leaf itself. What is not authentic is the gateway's fault, and only the
 * gateway is told: a reject that names an honest envelope which somebody put under another kind would have the leaf
 * give it up.
 */

import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { MAX_RELAY_BYTES, parseEnvelope } from '@fieldproof/protocol/envelope';
import type { RelayProblem } from '@fieldproof/protocol/registry-device';
import { decodeRelay } from '@fieldproof/protocol/relay';
import { type Fault, faultOf, type Judgement, type Submission } from './rules.ts';
import type { DeviceKey, Inside, Session, Slot } from './session.ts';
import type { Verifier } from './verifier.ts';

export interface RelayContext {
  readonly verifier: Pick<Verifier, 'submit'>;
  readonly deviceKey: (deviceId: string) => DeviceKey | null;
  readonly relayProblem: (leaf: string, gateway: string) => RelayProblem | null;
  /** The envelope inside has its verdict, and that is durable. */
  readonly onSettled: (inner: Slot) => void;
  /** Called once: with what is wrong with the wrapping, or with the inside to be judged in its turn. */
  readonly done: (fault: Fault | null, inside: Inside | null) => void;
}

const NOT_NAMED: Fault = {
  code: 'ERR_RELAY_NOT_NAMED',
  message: 'leaf: has not named this gateway',
};
const EXPIRED: Fault = { code: 'ERR_RELAY_EXPIRED', message: 'delegation: expired' };
const SUSPENDED: Fault = { code: 'ERR_SUSPENDED', message: 'device: suspended' };
const CREDENTIAL_EXPIRED: Fault = {
  code: 'ERR_CREDENTIAL_EXPIRED',
  message: 'credential: expired',
};

/** Opens the payload of a `relay` envelope that is authentic. */
export function openRelay(gateway: Session, outer: Slot, context: RelayContext): void {
  const { verifier, deviceKey, relayProblem, onSettled, done } = context;
  let relayed: ReturnType<typeof decodeRelay>;
  try {
    relayed = decodeRelay(parseEnvelope(outer.envelope, MAX_RELAY_BYTES).payload);
  } catch (error) {
    done(faultOf(error), null);
    return;
  }
  const { leaf, kind, envelope } = relayed;
  const key = deviceKey(leaf);
  const problem = key === null ? 'not-named' : relayProblem(leaf, gateway.deviceId);
  if (key === null || problem !== null) {
    done(problem === 'expired' ? EXPIRED : NOT_NAMED, null);
    return;
  }
  const { at } = outer;
  const { publicKey, kid, history, standing } = key;
  // The standing is applied below, to what is authentic.
  const submission: Submission = {
    ...{ envelope, kind, publicKey, kid, history, at },
    ...{ standing: 'good', diagnose: false },
  };
  const authentic = (judgement: Judgement, digest: Uint8Array) => {
    const session = leafSession(leaf, { kid, gateway: gateway.deviceKey });
    const slot: Slot = {
      ...{ kind, envelope, at, judgement, digest, settled: false },
      done: () => onSettled(slot),
    };
    done(null, { leaf: session, slot });
  };
  verifier.submit(submission, (judgement, digest) => {
    const { stamp, fault } = judgement;
    if (stamp !== null) {
      const barred = { good: null, suspended: SUSPENDED, expired: CREDENTIAL_EXPIRED }[standing];
      authentic({ stamp, fault: barred ?? fault }, digest);
      return;
    }
    const retired = fault?.code === 'ERR_KEY_RETIRED' ? retiredKey(submission) : null;
    if (retired === null) {
      done(fault?.code === 'ERR_INTERNAL' ? fault : notTheLeafs(fault), null);
      return;
    }
    // The leaf has to hear that nobody takes it any more, if it is the leaf's.
    verifier.submit({ ...submission, ...retired, history: null }, (under) => {
      if (under.stamp === null) done(notTheLeafs(fault), null);
      else authentic({ stamp: null, fault }, digest);
    });
  });
}

function notTheLeafs(fault: Fault | null): Fault {
  return { code: 'ERR_RELAY_ENVELOPE', message: `inside: ${fault?.message ?? 'refused'}` };
}

/** The key of the leaf that the envelope names, whatever it may still sign. */
function retiredKey({
  envelope,
  publicKey,
  kid,
  history,
}: Submission): Pick<Submission, 'publicKey' | 'kid'> | null {
  const named = Buffer.from(parseEnvelope(envelope).kid);
  const keys = [{ publicKey, kid }, ...(history?.retired ?? [])];
  const found = keys.find((key) => named.equals(key.kid));
  return found === undefined ? null : { publicKey: found.publicKey, kid: found.kid };
}

/** What the gate needs to judge one envelope of a leaf that has no session. */
function leafSession(
  deviceId: string,
  { kid, gateway }: { readonly kid: Uint8Array; readonly gateway: Uint8Array },
): Session {
  return {
    ...{ deviceId, deviceKey: publicKeyFromDeviceId(deviceId), kid, gateway },
    ...{ nonce: '', nonceIssuedAt: 0, slots: [], judged: 0 },
  };
}
