/**
 * A network of one process for tests: HTTP with descriptor, hello and enrolment, and a scripted MQTT broker that
 * answers packet by packet, so that a test decides what is acknowledged, receipted, rejected or forged.
 */

import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { fromBase64url } from '@fieldproof/protocol/bytes';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import {
  downAad,
  openUp,
  type Signer,
  seal,
  type UpEnvelope,
  upAad,
} from '@fieldproof/protocol/envelope';
import { IntervalSet } from '@fieldproof/protocol/interval-set';
import { formatJoinLine } from '@fieldproof/protocol/join-line';
import {
  encodeReceipt,
  encodeReject,
  type Receipt,
  type Reject,
} from '@fieldproof/protocol/settlement-messages';
import {
  type Descriptor,
  encodeEnrolmentAnswer,
  openEnrolment,
  openLogin,
  sealCredential,
  sealDescriptor,
  sealHello,
} from '@fieldproof/protocol/statements';
import { type DownKind, formatTopic, parseTopic, type UpKind } from '@fieldproof/protocol/topics';
import mqttPacket, { type Packet } from 'mqtt-packet';

export const NETWORK = 'testnet1';

export interface Received {
  readonly deviceId: string;
  readonly kind: UpKind;
  readonly bytes: Uint8Array;
  readonly envelope: UpEnvelope;
  readonly key: string;
}

export interface Roles {
  readonly root: Signer;
  registry: Signer;
  log: Signer;
  control: Signer;
}

/** What the broker does with one publish; the default acknowledges, and answers with a receipt. */
export type OnPublish = (
  message: Received,
  /** `putOff` acknowledges without settling. */
  answer: { ack(): void; receipt(): void; putOff(code: string, retryAfterMs: number): void },
) => void;

const key = () => signerFromSeed(new Uint8Array(randomBytes(32)));

export class FakeNetwork {
  readonly roles: Roles = { root: key(), registry: key(), log: key(), control: key() };
  readonly received: Received[] = [];
  readonly settled = new Map<string, { counter: number; seed: Uint8Array; set: IntervalSet }>();
  readonly token = new Uint8Array(randomBytes(16));
  readonly tokensSeen: (Uint8Array | null)[] = [];
  version = 1;
  connackCode = 0;
  connects = 0;
  descriptorsAsked = 0;
  /** Descriptors are answered when it resolves. */
  descriptorDelay: Promise<void> | null = null;
  timeMs: () => number = () => Date.now();
  enrolStatus: { status: number; code: string } | undefined;
  expiresMs = 4_000_000_000_000;
  /** Life of the credentials that it gives. */
  credentialLife = { issued: 0, expires: 4_000_000_000_000 };
  onPublish: OnPublish = (_, { ack, receipt }) => {
    ack();
    receipt();
  };
  #http: Server | undefined;
  #mqtt: ReturnType<typeof createTcpServer> | undefined;
  readonly #sockets = new Set<Socket>();
  #connection: { socket: Socket; deviceId: string } | undefined;
  #nextId = 1;
  #nonce = new Uint8Array(32);
  mqttPort = 0;
  httpPort = 0;

  async start(): Promise<void> {
    this.#mqtt = createTcpServer((socket) => this.#serve(socket));
    this.#http = createServer((request, response) => {
      this.#answer(request).then(
        ({ status, body, type }) => {
          response.writeHead(status, { 'content-type': type });
          response.end(body);
        },
        (error: unknown) => {
          response.writeHead(500);
          response.end(String(error));
        },
      );
    });
    await new Promise<void>((resolve) => this.#mqtt!.listen(this.mqttPort, '127.0.0.1', resolve));
    await new Promise<void>((resolve) => this.#http!.listen(this.httpPort, '127.0.0.1', resolve));
    this.mqttPort = (this.#mqtt.address() as AddressInfo).port;
    this.httpPort = (this.#http.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    this.dropConnections();
    this.#http?.closeAllConnections();
    await new Promise((resolve) => this.#http?.close(resolve));
    await new Promise((resolve) => this.#mqtt?.close(resolve));
  }

  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  joinLine(): string {
    return formatJoinLine({
      host: '127.0.0.1',
      port: this.httpPort,
      plain: true,
      network: NETWORK,
      rootKey: this.roles.root.publicKey,
      token: this.token,
    });
  }

  descriptor(): Descriptor {
    const { registry, log, control } = this.roles;
    return {
      network: NETWORK,
      version: this.version,
      issued: 0,
      expires: this.expiresMs,
      keys: {
        registry: registry.publicKey,
        log: log.publicKey,
        control: control.publicKey,
        ledger: control.publicKey,
      },
      origins: { evidence: 'test/evidence', ledger: 'test/ledger' },
      ca: null,
      addresses: { http: [], mqtt: [`mqtt://127.0.0.1:${this.mqttPort}`], control: [] },
      witnesses: [],
      stewards: [],
      mergeDelayMs: 1000,
    };
  }

  kinds(): string[] {
    return this.received.map(({ kind }) => kind);
  }

  /** Sends a signed message down. */
  send(
    kind: DownKind,
    payload: Uint8Array,
    forge: { signer?: Signer; network?: string } = {},
  ): void {
    const { deviceId } = this.#connection!;
    const signer =
      forge.signer ??
      (kind === 'receipt' || kind === 'reject' ? this.roles.log : this.roles.control);
    const bytes = seal({
      contentType: 60,
      payload,
      externalAad: downAad(forge.network ?? NETWORK, kind, deviceId),
      signer,
    });
    this.sendRaw(kind, bytes);
  }

  /** Sends bytes down as they are. */
  sendRaw(kind: DownKind, bytes: Uint8Array): void {
    const { socket, deviceId } = this.#connection!;
    this.#write(socket, {
      cmd: 'publish',
      topic: formatTopic({ network: NETWORK, deviceId, kind }),
      payload: Buffer.from(bytes),
      qos: 1,
      messageId: this.#nextId++,
      dup: false,
      retain: false,
    });
  }

  receiptOf(boots: Receipt['boots']): Uint8Array {
    return encodeReceipt({
      at: 1_700_000_000_000,
      boots,
      entry: [this.received.length, new Uint8Array(32)],
      heads: [],
      checkpoint: null,
    });
  }

  /** The receipt that an honest broker would send now. */
  sendReceipt(): void {
    const boots = [...this.settled.values()].map(
      ({ counter, seed, set }): Receipt['boots'][number] => {
        const through = set.contiguousThrough();
        return [
          counter,
          seed,
          through,
          set.rangesAbove(through, 32).map(([from, to]): [number, number] => [from, to]),
          [],
        ];
      },
    );
    this.send('receipt', this.receiptOf(boots));
  }

  sendReject(
    message: Received,
    reject: Partial<Reject> & { code: string; permanent: boolean },
  ): void {
    const { stamp } = message.envelope;
    this.send(
      'reject',
      encodeReject({
        digest: new Uint8Array(createHash('sha256').update(message.bytes).digest()),
        boot: [stamp.bootCounter, stamp.bootSeed],
        seq: stamp.seq,
        remedy: 'none',
        ...reject,
      }),
    );
  }

  #settle({ envelope }: Received): void {
    const { bootCounter: counter, bootSeed: seed, seq } = envelope.stamp;
    const id = `${counter}-${Buffer.from(seed).toString('hex')}`;
    if (!this.settled.has(id)) this.settled.set(id, { counter, seed, set: new IntervalSet() });
    this.settled.get(id)!.set.add(seq);
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    let deviceId = '';
    parser.on('packet', (packet: Packet) => {
      if (packet.cmd === 'connect') {
        deviceId = packet.clientId;
        const publicKey = publicKeyFromDeviceId(deviceId);
        const nonce = openLogin(fromBase64url(String(packet.password)), {
          network: NETWORK,
          publicKey,
          verify,
          device: deviceId,
        });
        const known = Buffer.compare(nonce, this.#nonce) === 0;
        const returnCode = known ? this.connackCode : 4;
        this.connects += 1;
        this.#write(socket, { cmd: 'connack', returnCode, sessionPresent: false });
        if (returnCode !== 0) socket.end();
        else this.#connection = { socket, deviceId };
      } else if (packet.cmd === 'subscribe') {
        const granted = packet.subscriptions.map(() => 1);
        this.#write(socket, { cmd: 'suback', messageId: packet.messageId!, granted } as Packet);
      } else if (packet.cmd === 'pingreq') {
        this.#write(socket, { cmd: 'pingresp' });
      } else if (packet.cmd === 'publish') {
        const kind = parseTopic(packet.topic).kind as UpKind;
        const bytes = new Uint8Array(packet.payload as Buffer);
        const envelope = openUp(bytes, {
          externalAad: upAad(NETWORK, kind),
          publicKey: publicKeyFromDeviceId(deviceId),
          verify,
        });
        const { bootCounter, seq } = envelope.stamp;
        const message = { deviceId, kind, bytes, envelope, key: `${bootCounter}/${seq}` };
        this.received.push(message);
        this.onPublish(message, {
          ack: () => {
            this.#settle(message);
            this.#write(socket, { cmd: 'puback', messageId: packet.messageId! });
          },
          receipt: () => this.sendReceipt(),
          putOff: (code, retryAfterMs) => {
            const later = { code, permanent: false, retryAfterMs, boot: null, seq: null };
            this.sendReject(message, later);
            this.#write(socket, { cmd: 'puback', messageId: packet.messageId! });
          },
        });
      }
    });
    socket.on('data', (chunk) => parser.parse(chunk));
  }

  #write(socket: Socket, packet: Packet): void {
    if (!socket.destroyed) socket.write(mqttPacket.generate(packet));
  }

  async #answer(
    request: IncomingMessage,
  ): Promise<{ status: number; body: Uint8Array; type: string }> {
    const cose = 'application/cose; cose-type="cose-sign1"';
    const url = new URL(request.url!, 'http://localhost');
    if (url.pathname === '/v1/descriptor') {
      this.descriptorsAsked += 1;
      if (this.descriptorDelay !== null) await this.descriptorDelay;
      const body = sealDescriptor(this.descriptor(), { signer: this.roles.root });
      return { status: 200, type: cose, body };
    }
    if (url.pathname === '/v1/hello') {
      this.#nonce = new Uint8Array(randomBytes(32));
      const clientNonce = fromBase64url(url.searchParams.get('nonce')!);
      const { version } = this;
      const hello = {
        network: NETWORK,
        time: this.timeMs(),
        nonce: this.#nonce,
        clientNonce,
        descriptor: version,
      };
      return { status: 200, type: cose, body: sealHello(hello, { signer: this.roles.registry }) };
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (this.enrolStatus !== undefined) {
      const { status, code } = this.enrolStatus;
      const body = Buffer.from(JSON.stringify({ title: 'refused', status, code, detail: 'no' }));
      return { status, type: 'application/problem+json', body };
    }
    const body = new Uint8Array(Buffer.concat(chunks));
    const { enrolment, device } = openEnrolment(body, { network: NETWORK, verify });
    this.tokensSeen.push(enrolment.token);
    const credential = sealCredential(
      {
        device,
        key: enrolment.key,
        owner: enrolment.owner,
        name: enrolment.name,
        group: 'test',
        cell: '',
        streams: [],
        ...this.credentialLife,
      },
      { network: NETWORK, signer: this.roles.registry },
    );
    const descriptor = sealDescriptor(this.descriptor(), { signer: this.roles.root });
    return {
      status: 200,
      type: 'application/cbor',
      body: encodeEnrolmentAnswer({ credential, descriptor, ca: null }),
    };
  }
}
