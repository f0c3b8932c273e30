/**
 * Devices for a load: enrolled and logged in through the broker's real interfaces, with batches of 50 readings that
 * are signed before any clock starts.
 */

import { randomBytes } from 'node:crypto';
import { toBase64url } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey, didKeyFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import {
  CONTENT_TYPES,
  type ContentType,
  type Signer,
  type Stamp,
  seal,
  upAad,
} from '@fieldproof/protocol/envelope';
import { type JoinLine, parseJoinLine } from '@fieldproof/protocol/join-line';
import { encodeBirth } from '@fieldproof/protocol/messages';
import { encodeTelemetry, type TelemetryPayload } from '@fieldproof/protocol/readings-encode';
import {
  decodeEnrolmentAnswer,
  openDescriptor,
  openHello,
  sealEnrolment,
  sealLogin,
  sealOwnership,
} from '@fieldproof/protocol/statements';
import { formatTopic, type UpKind } from '@fieldproof/protocol/topics';
import { publishPacket } from './mqtt-writer.ts';
import { createWalk, WALK_METRICS } from './random-walk.ts';

export interface FleetOptions {
  /** HTTP address of the broker. */
  readonly http: string;
  readonly joinLine: string;
  readonly devices: number;
  readonly batchesPerDevice: number;
  readonly format: 'senml' | 'columns';
  /** Seeds of the keys of devices that are enrolled already, base64; as many as `devices`. */
  readonly seeds?: readonly string[];
}

export interface FleetDevice {
  readonly id: string;
  readonly network: string;
  readonly signer: Signer;
  /** Telemetry, ready to send in this order. */
  readonly envelopes: readonly Uint8Array[];
  readonly packets: readonly Buffer[];
  /** One more, signed now; a seq above those of `packets`, each once. */
  telemetry(seq: number, batch: TelemetryPayload): Buffer;
  /** Password of a CONNECT and a birth for that session; good for one minute. */
  login(): Promise<{ readonly password: string; readonly birth: Buffer }>;
}

/** Readings of one batch. */
export const BATCH_READINGS = 50;
const INSTANTS = BATCH_READINGS / WALK_METRICS.length;
const STEP_MS = 1000;
const BOUND_MS = 1000;

/** Enrols devices and signs their batches: 0.1 ms each. */
export async function createFleet(options: FleetOptions): Promise<FleetDevice[]> {
  const join = parseJoinLine(options.joinLine);
  const { keys } = openDescriptor(await getBytes(`${options.http}/v1/descriptor`), {
    network: join.network,
    publicKey: join.rootKey,
    verify,
  });
  const owner = signerFromSeed(randomBytes(32));
  const context: Context = { ...options, join, owner, registryKey: keys.registry };
  const devices: FleetDevice[] = [];
  for (let n = 0; n < options.devices; n++) devices.push(await createDevice(n, context));
  return devices;
}

interface Context extends FleetOptions {
  readonly join: JoinLine;
  readonly owner: Signer;
  readonly registryKey: Uint8Array;
}

async function createDevice(n: number, context: Context): Promise<FleetDevice> {
  const { network } = context.join;
  const seed = context.seeds?.[n];
  const signer = signerFromSeed(seed === undefined ? randomBytes(32) : Buffer.from(seed, 'base64'));
  const id = deviceIdFromPublicKey(signer.publicKey);
  if (seed === undefined) await enrol({ id, signer, name: `bench ${n}` }, context);
  const bootSeed = Uint8Array.from(randomBytes(4));
  const stamp = (seq: number): Stamp => ({
    bootCounter: 1,
    bootSeed,
    seq,
    bootMs: 1000 + seq * INSTANTS * STEP_MS,
    boundMs: BOUND_MS,
  });
  const sealed = (
    kind: UpKind,
    body: { readonly seq: number; readonly contentType: ContentType; readonly payload: Uint8Array },
  ): Uint8Array =>
    seal({ ...body, externalAad: upAad(network, kind), signer, stamp: stamp(body.seq) });
  const topic = (kind: UpKind) => formatTopic({ network, deviceId: id, kind });
  // All in the past, so that no reading is later than its reception.
  const lastMs = Math.floor(Date.now() / STEP_MS) * STEP_MS;
  const walk = createWalk(n, lastMs - context.batchesPerDevice * INSTANTS * STEP_MS);
  const envelopes: Uint8Array[] = [];
  const telemetry = (seq: number, { contentType, payload }: TelemetryPayload): Uint8Array =>
    sealed('telemetry', { seq, contentType: contentType as ContentType, payload });
  for (let seq = 1; seq <= context.batchesPerDevice; seq++) {
    const [batch] = encodeTelemetry(walk(INSTANTS), { format: context.format });
    envelopes.push(telemetry(seq, batch!));
  }
  return {
    id,
    network,
    signer,
    envelopes,
    packets: envelopes.map((envelope) => publishPacket(topic('telemetry'), envelope)),
    telemetry: (seq, batch) => publishPacket(topic('telemetry'), telemetry(seq, batch)),
    login: async () => {
      const nonce = await hello(context);
      const password = toBase64url(sealLogin({ device: id, nonce }, { network, signer }));
      const payload = encodeBirth({
        nonce,
        agent: 'fieldproof-bench',
        source: 'simulated',
        profiles: { air: WALK_METRICS.map(([metric, unit]) => ({ metric, unit })) },
        capabilities: {},
        rejectsSeen: [],
        head: null,
      });
      const birth = sealed('birth', { seq: 0, contentType: CONTENT_TYPES.cbor, payload });
      return { password, birth: publishPacket(topic('birth'), birth) };
    },
  };
}

async function enrol(
  device: { readonly id: string; readonly signer: Signer; readonly name: string },
  context: Context,
): Promise<void> {
  const { join, owner, http } = context;
  const { id, signer, name } = device;
  const { network, token } = join;
  const body = sealEnrolment(
    {
      nonce: await hello(context),
      token,
      key: signer.publicKey,
      owner: didKeyFromPublicKey(owner.publicKey),
      ownership: sealOwnership(id, { network, signer: owner }),
      name,
    },
    { network, signer },
  );
  const headers = { 'content-type': 'application/cose' };
  const answer = await fetch(`${http}/v1/enrol`, {
    method: 'POST',
    body: Buffer.from(body),
    headers,
  });
  if (!answer.ok) throw new Error(`enrolment: ${await answer.text()}`);
  decodeEnrolmentAnswer(new Uint8Array(await answer.arrayBuffer()));
}

async function hello({ http, join, registryKey }: Context): Promise<Uint8Array> {
  const clientNonce = randomBytes(16);
  const bytes = await getBytes(`${http}/v1/hello?nonce=${toBase64url(clientNonce)}`);
  return openHello(bytes, { network: join.network, publicKey: registryKey, verify, clientNonce })
    .nonce;
}

async function getBytes(url: string): Promise<Uint8Array> {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  return new Uint8Array(await answer.arrayBuffer());
}
