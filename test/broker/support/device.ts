/** A device for tests: enrols over HTTP, logs in over MQTT, seals what it is told, keeps what it receives. */

import { randomBytes } from 'node:crypto';
import { toBase64url } from '@fieldproof/protocol/bytes';
import { encode } from '@fieldproof/protocol/cbor';
import { deviceIdFromPublicKey, didKeyFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import {
  CONTENT_TYPES,
  type ContentType,
  downAad,
  MAX_RELAY_BYTES,
  open,
  type Signer,
  seal,
  upAad,
} from '@fieldproof/protocol/envelope';
import { parseJoinLine } from '@fieldproof/protocol/join-line';
import { encodeBirth, encodeEvent } from '@fieldproof/protocol/messages';
import {
  decodeReceipt,
  decodeReject,
  type Receipt,
  type Reject,
} from '@fieldproof/protocol/settlement-messages';
import {
  type Descriptor,
  decodeEnrolmentAnswer,
  openDescriptor,
  openHello,
  sealEnrolment,
  sealLogin,
  sealOwnership,
} from '@fieldproof/protocol/statements';
import { formatTopic, type UpKind } from '@fieldproof/protocol/topics';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { until as waitUntil } from '../../support/until.ts';

export interface SealChanges {
  readonly kind?: UpKind;
  readonly network?: string;
  readonly signer?: Signer;
  readonly contentType?: ContentType;
  readonly payload?: Uint8Array;
  readonly seq?: number;
  readonly boundMs?: number | null;
  readonly bootCounter?: number;
  readonly bootSeed?: Uint8Array;
  readonly bootMs?: number;
}

export class TestDevice {
  /** The key in use; another one after a rotation. */
  signer: Signer;
  readonly owner: Signer;
  /** The id of its first key; that of another device after a swap. */
  id: string;
  readonly http: string;
  readonly mqttUrl: string;
  readonly network: string;
  readonly receipts: Receipt[] = [];
  readonly rejects: Reject[] = [];
  /** What does not verify is left out instead of failing the test: role keys are being replaced. */
  isLenient = false;
  bootCounter = 1;
  bootSeed: Uint8Array = Uint8Array.from(randomBytes(4));
  seq = 0;
  nonce: Uint8Array = new Uint8Array(32);
  client: MqttClient | null = null;
  private readonly started = Date.now();
  private descriptorInUse: Descriptor | null = null;
  private rootKey: Uint8Array | null = null;

  constructor(broker: { readonly http: string; readonly mqtt: string; readonly network: string }) {
    this.signer = signerFromSeed(randomBytes(32));
    this.owner = signerFromSeed(randomBytes(32));
    this.id = deviceIdFromPublicKey(this.signer.publicKey);
    this.http = broker.http;
    this.mqttUrl = broker.mqtt;
    this.network = broker.network;
  }

  async descriptor(): Promise<Descriptor> {
    this.descriptorInUse ??= openDescriptor(await getBytes(`${this.http}/v1/descriptor`), {
      network: this.network,
      publicKey: this.rootKey!,
      verify,
    });
    return this.descriptorInUse;
  }

  async hello(): Promise<Uint8Array> {
    const clientNonce = randomBytes(16);
    const bytes = await getBytes(`${this.http}/v1/hello?nonce=${toBase64url(clientNonce)}`);
    const { keys } = await this.descriptor();
    const context = { network: this.network, publicKey: keys.registry, verify, clientNonce };
    return openHello(bytes, context).nonce;
  }

  /** POST /v1/enrol; the response as it is. */
  async enrolRequest(
    joinLine: string,
    changes: {
      readonly owner?: Signer;
      readonly token?: null;
      readonly nonce?: Uint8Array;
      readonly cell?: string;
      readonly name?: string;
      readonly agent?: string;
    } = {},
  ): Promise<Response> {
    const join = parseJoinLine(joinLine);
    this.rootKey = join.rootKey;
    const { network, signer } = this;
    const owner = changes.owner ?? this.owner;
    const body = sealEnrolment(
      {
        nonce: changes.nonce ?? (await this.hello()),
        token: changes.token === null ? null : join.token,
        key: signer.publicKey,
        owner: didKeyFromPublicKey(owner.publicKey),
        ownership: sealOwnership(this.id, { network, signer: owner }),
        name: changes.name ?? 'test device',
        ...(changes.agent !== undefined && { agent: changes.agent }),
        ...(changes.cell !== undefined && { cell: changes.cell }),
      },
      { network, signer },
    );
    const headers = { 'content-type': 'application/cose' };
    return fetch(`${this.http}/v1/enrol`, { method: 'POST', body: Buffer.from(body), headers });
  }

  async enrol(joinLine: string) {
    const response = await this.enrolRequest(joinLine);
    if (!response.ok) throw new Error(await response.text());
    return decodeEnrolmentAnswer(new Uint8Array(await response.arrayBuffer()));
  }

  async loginPassword(nonce?: Uint8Array, signer = this.signer): Promise<string> {
    this.nonce = nonce ?? (await this.hello());
    const { network } = this;
    return toBase64url(sealLogin({ device: this.id, nonce: this.nonce }, { network, signer }));
  }

  /** Connects and subscribes to everything that is its own. */
  async connect(options: IClientOptions = {}): Promise<MqttClient> {
    const client = await mqtt.connectAsync(this.mqttUrl, {
      clientId: this.id,
      username: this.id,
      password: await this.loginPassword(),
      protocolVersion: 4,
      clean: true,
      reconnectPeriod: 0,
      connectTimeout: 5000,
      ...options,
    });
    this.client = client;
    client.on('error', () => {});
    client.on('message', (topic, payload) => this.keep(topic, Uint8Array.from(payload)));
    await client.subscribeAsync(`fp/1/${this.network}/d/${this.id}/+`, { qos: 1 });
    return client;
  }

  async close(): Promise<void> {
    await this.client?.endAsync(true);
  }

  topic(kind: string): string {
    return formatTopic({ network: this.network, deviceId: this.id, kind });
  }

  /** An envelope; by default a telemetry batch of one absolute reading, with the next seq. */
  seal(changes: SealChanges = {}): Uint8Array {
    const kind = changes.kind ?? 'telemetry';
    return seal({
      contentType:
        changes.contentType ?? (kind === 'telemetry' ? CONTENT_TYPES.senml : CONTENT_TYPES.cbor),
      payload: changes.payload ?? this.payloadOf(kind),
      ...(kind === 'relay' && { maxBytes: MAX_RELAY_BYTES }),
      externalAad: upAad(changes.network ?? this.network, kind),
      signer: changes.signer ?? this.signer,
      stamp: {
        bootCounter: changes.bootCounter ?? this.bootCounter,
        bootSeed: changes.bootSeed ?? this.bootSeed,
        seq: changes.seq ?? this.seq++,
        bootMs: changes.bootMs ?? Date.now() - this.started,
        boundMs: changes.boundMs === undefined ? 1000 : changes.boundMs,
      },
    });
  }

  birth(
    changes: {
      readonly nonce?: Uint8Array | null;
      readonly rejectsSeen?: [number, Uint8Array, number][];
    } = {},
  ): Uint8Array {
    return encodeBirth({
      nonce: changes.nonce === undefined ? this.nonce : changes.nonce,
      agent: 'test 1',
      source: 'simulated',
      profiles: { air: [{ metric: 'temp', unit: 'Cel' }] },
      capabilities: {},
      rejectsSeen: changes.rejectsSeen ?? [],
      head: null,
    });
  }

  async publish(kind: string, envelope: Uint8Array): Promise<void> {
    await this.client!.publishAsync(this.topic(kind), Buffer.from(envelope), { qos: 1 });
  }

  private payloadOf(kind: UpKind): Uint8Array {
    if (kind === 'birth') return this.birth();
    if (kind === 'event') return encodeEvent({ event: 'heartbeat' });
    return senml(Math.floor(Date.now() / 1000));
  }

  private keep(topic: string, payload: Uint8Array): void {
    const kind = topic.slice(topic.lastIndexOf('/') + 1);
    if (kind !== 'receipt' && kind !== 'reject') return;
    let message: ReturnType<typeof open>;
    try {
      message = open(payload, {
        externalAad: downAad(this.network, kind, this.id),
        publicKey: this.descriptorInUse!.keys.log,
        verify,
      });
    } catch (error) {
      if (this.isLenient) return;
      throw error;
    }
    if (kind === 'receipt') this.receipts.push(decodeReceipt(message.payload));
    else this.rejects.push(decodeReject(message.payload));
  }
}

/** A SenML payload of one reading at a Unix second. */
export function senml(time: number): Uint8Array {
  return encode([
    new Map<number, number | string>([
      [-3, time],
      [0, 'air/temperature'],
      [1, 'Cel'],
      [2, 21],
    ]),
  ]);
}

/** Waits for something to become true. */
export async function until(condition: () => boolean, what = 'condition'): Promise<void> {
  await waitUntil(what, condition, { everyMs: 5 });
}

async function getBytes(url: string): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return new Uint8Array(await response.arrayBuffer());
}
