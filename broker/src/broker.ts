/**
 * The broker: registry, evidence log, gate, MQTT and HTTP in one process.
 *
 * Start: data folder, keys, registry, evidence log, listeners that answer "not ready", the descriptor with the real
 * ports, the registry caught up from the log, open. Stop is the reverse, with everything made durable.
 */

import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { addressRule } from '@fieldproof/protocol/address-share-node';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import type { Verify } from '@fieldproof/protocol/envelope';
import type { HttpBooks } from '@fieldproof/protocol/http-limits-node';
import { isSuspended } from '@fieldproof/protocol/registry-device';
import type { Descriptor } from '@fieldproof/protocol/statements';
import { addressFile } from './cli/admin-client.ts';
import { type BrokerConfig, type BrokerOptions, resolveConfig } from './config.ts';
import { openDataFolder } from './data-folder.ts';
import { loadDescriptor } from './descriptor.ts';
import { descriptorContent } from './descriptor-content.ts';
import { DescriptorDesk, isCompromisedIn } from './descriptor-desk.ts';
import { logDescriptor, readLoggedDescriptor, versionInForce } from './descriptor-log.ts';
import { remedyOf, rowOf } from './errors.ts';
import { EvidenceLog } from './evidence/evidence-log.ts';
import { type FileLayer, nodeFiles } from './evidence/file-layer.ts';
import { CloneWatch } from './gate/clones.ts';
import { Counters } from './gate/counters.ts';
import { Gate } from './gate/gate.ts';
import { Rates } from './gate/rates.ts';
import { Receipts } from './gate/receipts.ts';
import type { PublishDown } from './gate/session.ts';
import { loadSignatureVerifier } from './gate/signature-verifier.ts';
import { createSyncVerifier, type Verifier } from './gate/verifier.ts';
import { createVerifyPool } from './gate/verify-pool.ts';
import { type Access, loadAccess } from './http/access.ts';
import { createHttpServer, type HttpServerOptions } from './http/http-server.ts';
import { type KeyFileLayer, nodeKeyFiles } from './key-file-layer.ts';
import { finishRotations } from './key-rotation.ts';
import { loadKeys, ownKeyInForce } from './keys.ts';
import {
  type Addresses,
  closeListener,
  keepListening,
  lanHost,
  lanNamesOf,
  listen,
  listenHttp,
  reachable,
  urlOf,
} from './listeners.ts';
import { createLogger, type Logger, noticeLevel } from './log.ts';
import { BackPressure } from './mqtt/back-pressure.ts';
import { Door } from './mqtt/door.ts';
import { FrontDesk } from './mqtt/front-desk.ts';
import { HeldPackets } from './mqtt/held-packets.ts';
import { isStillGood, judgeLogin } from './mqtt/login.ts';
import { MqttServer } from './mqtt/mqtt-server.ts';
import { mqttStatus } from './mqtt/mqtt-status.ts';
import { PlainBroker } from './mqtt/plain/plain-broker.ts';
import { isPlainAnonymous } from './mqtt/plain/settings.ts';
import { Refusals } from './mqtt/refusals.ts';
import { createTcpListener, createTlsListener } from './mqtt/tcp-listeners.ts';
import { serveWebSockets, webSocketUrl } from './mqtt/websocket.ts';
import { Nonces } from './nonces.ts';
import { CredentialWatch } from './observe/credential-watch.ts';
import {
  DescriptorWatch,
  descriptorFamilies,
  descriptorProblems,
} from './observe/descriptor-watch.ts';
import { countDevices } from './observe/device-counts.ts';
import { Health } from './observe/health.ts';
import { Instruments } from './observe/instruments.ts';
import { LogRing } from './observe/log-ring.ts';
import { collectMetrics, type MetricsSources } from './observe/metrics.ts';
import { Outages } from './observe/outages.ts';
import { passwordIn, Scrubber, secretLines, secretsIn } from './observe/scrubber.ts';
import { SystemTopics, systemSnapshot } from './observe/system-topics.ts';
import { tlsProblems } from './observe/tls-problems.ts';
import { verdictSummary } from './observe/verdict-summary.ts';
import { VERSION } from './observe/version.ts';
import { openWebhook, webhookFamilies, webhookProblems } from './observe/webhook.ts';
import { RateLimiter } from './rate-limit.ts';
import { AccessDesk, type AccessIdentity } from './registry/access-desk.ts';
import { catchUp } from './registry/catch-up.ts';
import { openRegistryDatabase } from './registry/database.ts';
import { DAY_MS, type DeskOptions } from './registry/desk.ts';
import { DetailsDesk } from './registry/details.ts';
import { DeviceTexts } from './registry/device-texts.ts';
import { Directory } from './registry/directory.ts';
import { EnrolmentDesk } from './registry/enrolment.ts';
import { lastRecorded } from './registry/last-recorded.ts';
import { OutageStore } from './registry/outage-store.ts';
import { QuarantineDesk } from './registry/quarantine.ts';
import { Registry } from './registry/registry.ts';
import { RotationDesk } from './registry/rotation.ts';
import { Sightings } from './registry/sightings.ts';
import { SuspensionDesk } from './registry/suspensions.ts';
import { TokenDesk } from './registry/token-desk.ts';
import { ToldCredentials } from './registry/told-credentials.ts';
import { TransferDesk } from './registry/transfer.ts';
import { replaceFile } from './replace-file.ts';
import { RoleSigners } from './role-signers.ts';
import { createStatus } from './status.ts';
import { certificateDates } from './tls/certificate-dates.ts';
import { Certificates, type Renewable } from './tls/certificates.ts';
import { certificatesOptions } from './tls/certificates-options.ts';

export interface RunningBroker {
  readonly network: string;
  readonly rootKey: Uint8Array;
  readonly addresses: Addresses;
  /** The plain profile. */
  readonly plain: PlainBroker;
  /** What `GET /admin/status` answers. */
  readonly status: () => ReturnType<ReturnType<typeof createStatus>>;
  /** Who presents a bearer token, of a file or named; null for one that lets nobody in. */
  readonly judgeAccessToken: (text: string) => AccessIdentity | null;
  /** Reads the TLS certificates again; what is wrong with them is logged and those in use stay. */
  readonly reloadCertificates: () => Promise<void>;
  /** Ends clients and listeners, makes everything durable. Idempotent. */
  readonly stop: () => Promise<void>;
}

/** Replaced in tests. */
export interface BrokerDependencies {
  readonly now?: () => number;
  readonly random?: (bytes: number) => Uint8Array;
  readonly files?: FileLayer;
  readonly keyFiles?: KeyFileLayer;
  /** Takes the lines of the log; default standard error. */
  readonly logDestination?: { readonly write: (line: string) => void };
}

const TALLY_INTERVAL_MS = 60_000;
const APPLIED_INTERVAL_MS = 30_000;
/** How often it is looked what ends soon: the descriptor, credentials. */
const LOOK_AHEAD_MS = 60_000;
/** How long a stop waits for verdicts that are on their way. */
const DRAIN_MS = 3000;
/** Failed signatures tried under other kinds, for all devices together. */
const DIAGNOSES = { perSecond: 20, burst: 40 };

/**
 * Starts a broker.
 *
 * @throws {BrokerError} ERR_CONFIG, ERR_PORT_TAKEN, ERR_DATA_LOCKED, ERR_DATA_NEWER, ERR_KEY_FILE,
 * ERR_DESCRIPTOR_FILE, ERR_DESCRIPTOR_NEEDED, ERR_LOG_CORRUPT;
 * what was opened before is closed again.
 */
export async function startBroker(
  options: BrokerOptions,
  dependencies: BrokerDependencies = {},
): Promise<RunningBroker> {
  const config = resolveConfig(options);
  const cleanup: (() => Promise<void> | void)[] = [];
  const unwind = async () => {
    for (let close = cleanup.pop(); close !== undefined; close = cleanup.pop()) await close();
  };
  try {
    return await compose(config, dependencies, { cleanup, unwind });
  } catch (error) {
    await unwind();
    throw error;
  }
}

interface Lifetime {
  /** What to close, in the order of opening. */
  readonly cleanup: (() => Promise<void> | void)[];
  readonly unwind: () => Promise<void>;
}

async function compose(
  config: BrokerConfig,
  dependencies: BrokerDependencies,
  { cleanup, unwind }: Lifetime,
): Promise<RunningBroker> {
  const now = dependencies.now ?? Date.now;
  const random = dependencies.random ?? ((bytes) => Uint8Array.from(randomBytes(bytes)));
  const scrubber = new Scrubber();
  scrubber.add(passwordIn(config.databaseUrl) ?? '');
  const ring = new LogRing();
  const { logDestination } = dependencies;
  const log = createLogger(config.logLevel, {
    ...{ scrubber, ring, now },
    ...(logDestination && { destination: logDestination }),
  });
  const startedAt = now();
  const instruments = new Instruments(now);
  cleanup.push(() => instruments.stop());

  const shareOf = addressRule(config.trustedAddresses);
  const data = await openDataFolder(config.dataDir);
  cleanup.push(() => data.close());
  const keyFiles = dependencies.keyFiles ?? nodeKeyFiles;
  const keys = loadKeys(data.path, random, keyFiles);
  const { network } = keys;
  const signers = new RoleSigners();
  let openedAccess: AccessDesk | null = null;
  const access = loadAccess(
    data.path,
    random,
    (file) => log.warn({ file }, 'token file: held no whole token; there is a new one in it'),
    (text) => openedAccess?.judge(text) ?? null,
  );
  const certificates = config.lan
    ? await Certificates.load(certificatesOptions(config, { folder: data.path, network, now, log }))
    : null;
  const tls = certificates?.current ?? null;
  const secrets = [...secretsIn(data.path), ...secretLines(tls?.key ?? '')];
  for (const secret of secrets) scrubber.add(secret);

  const file = join(data.path, 'registry.sqlite');
  const database = await openRegistryDatabase({ url: config.databaseUrl, file });
  const registry = new Registry(database);
  cleanup.push(() => registry.close());
  await registry.claim(network);
  const evidence = await openEvidence(config, {
    ...{ folder: data.path, network, signers, log, instruments },
    files: dependencies.files ?? nodeFiles,
  });
  cleanup.push(() => evidence.close());
  cleanup.push(() => signers.close());
  instruments.foundCheckpoint(evidence.publishedFolder);
  for (const tail of evidence.report.dropped) {
    if (tail.acknowledgedBytes === 0) log.warn(tail, 'evidence log: a torn write was cut off');
    else log.error(tail, 'evidence log: the end of the file is lost, acknowledged entries with it');
  }

  const texts = new DeviceTexts({ db: database, random, now });
  const onDatabaseError = (error: unknown) =>
    log.error({ err: error }, 'registry: database refused');
  const directory = new Directory({
    network,
    signer: signers.statements,
    registry,
    evidence,
    now,
    onDatabaseError,
    onRecorded: (action, device) => outages.recorded(action, device),
  });
  const accessDesk = new AccessDesk({
    ...{ network, signer: signers.statements, evidence, db: database, random, now },
    onDatabaseError,
  });
  const tokenDesk = new TokenDesk({
    ...{ network, signer: signers.statements, evidence, registry, random, now },
    onDatabaseError,
  });
  /** Nothing of the log up to here needs to be read again, once the database has all of it. */
  const settle = async () => {
    const { size } = evidence;
    const settled = [await accessDesk.settle(), await tokenDesk.settle()];
    if (settled.every(Boolean)) await directory.settle(size);
  };
  cleanup.push(settle);
  await directory.load();
  await accessDesk.load();
  const sightings = new Sightings(registry, (error) =>
    log.error({ err: error }, 'registry: birth not stored'),
  );
  await sightings.load();

  const webhook = openWebhook(config, {
    ...{ dataDir: data.path, network, version: VERSION, random, now, log },
    onSecret: (secret) => scrubber.add(secret),
  });
  const outages = new Outages({
    ...{ offlineAfterMs: config.offlineAfterMs, startedAt, log, now },
    store: new OutageStore(database),
    devices: () => directory.all(),
    device: (deviceId) => directory.get(deviceId),
    isOnline: (deviceId) => isOnline(deviceId),
    lastHeard: async (deviceId) =>
      sightings.of(deviceId).lastSeenMs ?? (await lastRecorded(evidence, deviceId)),
    send: (event) => webhook?.send(event),
  });
  await outages.start();
  const credentials = new CredentialWatch({
    ...{ isSuspended, log, now },
    warnMs: config.credentialWarnDays * DAY_MS,
    store: new ToldCredentials(database),
    devices: () => directory.all(),
    device: (deviceId) => directory.get(deviceId),
    send: (event) => webhook?.send(event),
  });
  await credentials.load();
  cleanup.push(async () => {
    await outages.stop();
    await credentials.stop();
    await webhook?.stop();
  });

  const recordedBoots = (deviceId: string) =>
    evidence
      .bootsOf(publicKeyFromDeviceId(deviceId))
      .map(({ counter, seed }) => ({ bootCounter: counter, bootSeed: seed }));
  const clones = new CloneWatch({ recordedBoots, rightsOf: (id) => directory.get(id) });
  const quarantine = new QuarantineDesk({ directory, clones, registry, recordedBoots, log });
  await quarantine.load();

  const counters = new Counters();
  const { verifier, verify } = await createVerifier(config, { network, log });
  cleanup.push(() => verifier.stop());
  const nonces = new Nonces({ now, random });
  const diagnoses = new RateLimiter(DIAGNOSES, now);
  // The gate needs the way down, and the MQTT server needs the gate.
  let mqtt: MqttServer | null = null;
  const publishDown: PublishDown = (deviceId, kind, message) => {
    if (mqtt !== null) return mqtt.publishDown(deviceId, kind, message);
    message.done?.();
    return false;
  };
  const isOnline = (deviceId: string) => mqtt?.isOnline(deviceId) ?? false;
  const receipts = new Receipts({
    network,
    signer: signers.log,
    evidence,
    publishDown,
    isOnline,
    now,
    intervalMs: config.receiptIntervalMs,
  });
  cleanup.push(() => receipts.stop());
  const rates = new Rates(config, {
    ownerOf: (deviceId) => directory.get(deviceId)?.owner ?? null,
    now,
  });
  const gate = new Gate({
    network,
    signer: signers.log,
    evidence,
    verifier,
    rates,
    counters,
    clones,
    receipts,
    publishDown,
    deviceKey: (deviceId) => directory.deviceKey(deviceId),
    suspendedUntil: (deviceId) => directory.get(deviceId)?.suspension?.until ?? null,
    mayDiagnose: () => diagnoses.take('all') === 0,
    onClone: (deviceId, clone) => void quarantine.quarantine(deviceId, clone),
    onFreshBirth: (deviceId, boot, index) => quarantine.freshBirth(deviceId, boot, index),
    onRejected: (deviceId, { code, message }) =>
      log.info({ event: 'reject', deviceId, code, detail: message }, 'reject'),
    onAccepted: (deviceId, at, birth) => {
      sightings.seen(deviceId, at);
      if (birth !== null) sightings.born(deviceId, birth);
    },
    now,
  });
  const refusals = new Refusals();
  const onNotice = (event: string, detail: object) =>
    log[noticeLevel(event)]({ event, ...detail }, event);
  const door = new Door({
    limits: config,
    shareOf,
    count: (why) => refusals.count(why),
    onNotice,
    monotonicMs: () => performance.now(),
  });
  const server = await MqttServer.create({
    door,
    network,
    gate,
    judgeLogin: (deviceId, password) =>
      judgeLogin(deviceId, password, {
        network,
        nonces,
        verify,
        deviceKey: (id) => directory.deviceKey(id),
      }),
    mayBegin: (session) => isStillGood(session, (id) => directory.deviceKey(id)),
    backPressure: new BackPressure(config),
    rates,
    refusals,
    limits: config,
    now,
    onSession: ({ deviceId }) => {
      log.info({ event: 'session-begin', deviceId }, 'session: begins');
      outages.sessionBegins(deviceId);
    },
    onSessionEnd: ({ deviceId }) => {
      receipts.forget(deviceId);
      log.info({ event: 'session-end', deviceId }, 'session: ends');
      outages.sessionEnds(deviceId);
    },
    onNotice,
  });
  mqtt = server;
  const held = new HeldPackets(config);
  cleanup.push(() => held.stop());
  const plainBroker = new PlainBroker({
    network,
    settings: config,
    refusals,
    now,
    onLimit: (code, detail) =>
      log.warn(
        { event: 'plain-limit', code, ...detail, remedy: remedyOf(code) },
        rowOf(code)?.what,
      ),
    onNotice,
  });
  cleanup.push(() => plainBroker.stop());
  server.onState((topic, payload) => plainBroker.announce(topic, payload, true));
  const desk = new FrontDesk({
    device: server,
    held,
    plain: plainBroker,
    rules: { judgeAccessToken: access.judge, plainAnonymous: isPlainAnonymous(config) },
    refusals,
    door,
    limits: config,
    // A will may have 64 KiB; a stranger from elsewhere is not given as much.
    ...(isPlainAnonymous(config) && { maxPlainConnectBytes: config.plainMaxPacketBytes }),
    onNotice,
  });
  let tallyFrom = now();
  const writeTally = async () => {
    const counts = counters.takeTally();
    const [fromMs, toMs] = [tallyFrom, now()];
    tallyFrom = toMs;
    if (counts.length === 0) return;
    try {
      await evidence.append({ type: 'reject-tally', fromMs, toMs, counts: [...counts] });
    } catch (error) {
      counters.returnTally(counts);
      tallyFrom = fromMs;
      throw error;
    }
  };
  cleanup.push(async () => {
    const until = Date.now() + DRAIN_MS;
    while (counters.values().inFlight > 0 && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await writeTally().catch((error: unknown) => log.error({ err: error }, 'tally: not written'));
  });

  let ready = false;
  let openedDesk: DescriptorDesk | null = null;
  const descriptorDesk = () => {
    if (openedDesk === null) throw new Error('descriptor: asked for before it is there');
    return openedDesk;
  };
  const descriptor = () => descriptorDesk().current;
  const addresses: { -readonly [K in keyof Addresses]: Addresses[K] } = {
    http: '',
    mqtt: '',
    https: null,
    mqtts: null,
    ws: '',
    wss: null,
    plain: null,
  };
  const httpCounts = { dropped: 0, stalled: 0 };
  const status = createStatus({
    network,
    startedAt,
    addresses,
    counters,
    mqtt: () => mqttStatus({ desk, door, held, devices: server }),
    plain: () => plainBroker.status(),
    http: httpCounts,
    evidence,
    directory,
    tls: () => certificates?.status() ?? null,
    now,
  });
  const deskOptions: DeskOptions = {
    network,
    signer: signers.registry,
    registry,
    directory,
    nonces,
    credentialDays: config.credentialDays,
    rotationGraceDays: config.rotationGraceDays,
    highestBoot: (deviceId) =>
      evidence
        .bootsOf(publicKeyFromDeviceId(deviceId))
        .reduce((highest, { counter }) => Math.max(highest, counter), -1),
    disconnect: (deviceId) => server.disconnect(deviceId),
    clearState: (deviceId) => server.clearState(deviceId),
    describe: async (device, token) => {
      if (token.site === '' && token.notes === '') return device;
      try {
        const described = await details.describe(device, token);
        await registry.eraseTokenTexts(token.hash);
        return described;
      } catch (error) {
        // It is enrolled all the same; the texts stay with the token, where `token list` shows them.
        log.error({ err: error, deviceId: device.deviceId }, 'enrolment: site and notes not kept');
        return directory.get(device.deviceId) ?? device;
      }
    },
    descriptor: () => descriptor().envelope,
    caPem: () => tls?.caPem ?? null,
    now,
  };
  const details = new DetailsDesk(directory, texts);
  const suspensions = new SuspensionDesk({
    ...{ network, directory, evidence, nonces, now },
    appealDays: config.appealDays,
    disconnect: (deviceId) => server.disconnect(deviceId),
  });
  const limiters = {
    hello: new RateLimiter(perSecond(config.helloPerSecond), now),
    enrol: new RateLimiter(perSecond(config.enrolPerSecond), now),
    diagnosis: diagnoses,
    rotations: new RateLimiter(perDay(config.rotationsPerDay), now),
  };
  const health = new Health({
    ...{ dataDir: data.path, minFreeBytes: config.minFreeBytes, evidence, now },
    isReady: () => ready,
    askDatabase: () => registry.appliedThrough(),
    more: () => [
      ...(openedDesk === null ? [] : descriptorProblems(descriptor().descriptor, now())),
      ...tlsProblems(certificates?.status() ?? null),
      ...webhookProblems(webhook),
    ],
  });
  const datesInForce = () => {
    const { caPem: ca, cert: server } = certificates?.current ?? {};
    return certificateDates({ ca, server });
  };
  const deviceCounts = () => countDevices(directory.all(), { isOnline, at: now() });
  const metricsSources: MetricsSources = {
    ...{ version: VERSION, network, dataDir: data.path, startedAt, counters },
    mqtt: { status: () => mqttStatus({ desk, door, held, devices: server }) },
    plain: plainBroker,
    ...{ evidence, receipts, verifier, http: httpCounts, now },
    ...{ commits: instruments.commits, syncs: instruments.syncs, requests: instruments.requests },
    isReady: () => ready,
    checkpointAt: () => instruments.checkpointAt,
    rateLimited: () => mapValues(limiters, ({ refused }) => refused),
    deviceCounts,
    quarantinedBoots: () => quarantine.count,
    certificates: () => mapValues(datesInForce(), ({ notAfter }) => notAfter),
    devicesAway: () => outages.count,
    credentialsExpiring: () => credentials.count,
    more: () => [
      ...(openedDesk === null ? [] : descriptorFamilies(descriptor().descriptor)),
      ...webhookFamilies(webhook),
      ...instruments.process.families(),
    ],
  };
  const lanNames = lanNamesOf(config, tls);
  const ports = { http: 0, https: 0, mqtt: 0, mqtts: 0 };
  const routes: HttpServerOptions['routes'] = {
    network,
    signer: signers.registry,
    rootKey: keys.rootKey,
    nonces,
    desk: new EnrolmentDesk(deskOptions),
    rotations: new RotationDesk({ ...deskOptions, rotationLimit: limiters.rotations }),
    transfers: new TransferDesk(deskOptions),
    descriptor,
    descriptorDesk,
    evidence,
    access: access satisfies Access,
    accessDesk,
    tokenDesk,
    maxTails: config.maxTails,
    registry,
    directory,
    publishDown,
    isOnline,
    sightings,
    isEnrolled: (deviceId) => (directory.get(deviceId)?.status ?? 'unenrolled') !== 'unenrolled',
    ...{ texts, details, suspensions, quarantine },
    status,
    joinAddress: () =>
      tls === null
        ? { host: reachable(config.host), port: ports.http, plain: true }
        : { host: lanHost(lanNames), port: ports.https, plain: false, covers: tls.covers },
    helloLimit: limiters.hello,
    enrolLimit: limiters.enrol,
    shareOf,
    metrics: () => collectMetrics(metricsSources),
    ...{ health, webhook, config, ring, deviceCounts },
    certificateDates: datesInForce,
    random,
    now,
  };
  const common = {
    logger: log,
    isReady: () => ready,
    limits: {
      maxConnections: config.maxHttpConnections,
      maxConnectionsPerAddress: config.maxHttpConnectionsPerAddress,
      headersMs: config.httpHeadersMs,
      stallMs: config.httpStallMs,
    },
    counts: httpCounts,
    requests: instruments.requests,
    routes,
  };
  const webSockets = { door, desk, held, limits: config, isReady: () => ready, now, onNotice };
  const serve = (listener: 'ws' | 'wss') => (httpServer: Server, books: HttpBooks) =>
    serveWebSockets(httpServer, { ...webSockets, books, listener, refusals });
  const http = createHttpServer({ ...common, tls: null, onServer: serve('ws') });
  const https =
    certificates &&
    createHttpServer({ ...common, tls: certificates.serverOptions, onServer: serve('wss') });
  const tcp = createTcpListener({ door, desk }, 'tcp');
  const plain = config.plainPort < 0 ? null : createTcpListener({ door, desk }, 'plain');
  const { handshakeTimeoutMs } = config;
  const secure =
    certificates &&
    createTlsListener(
      { door, desk },
      { material: certificates.serverOptions, handshakeTimeoutMs, onNotice },
    );
  cleanup.push(async () => {
    ready = false;
    desk.close();
    // These end when the last of their connections has, WebSockets among them.
    const closing = [
      ...[http.close(), https?.close()],
      ...[tcp, plain, secure?.listener].map((bound) => bound && closeListener(bound)),
    ];
    await server.stop();
    plainBroker.stop();
    desk.stop();
    await Promise.all(closing);
  });
  ports.http = await listenHttp(http, config.host, config.httpPort);
  ports.mqtt = await listen(tcp, config.host, config.mqttPort);
  addresses.http = urlOf('http', reachable(config.host), ports.http);
  addresses.mqtt = urlOf('mqtt', reachable(config.host), ports.mqtt);
  addresses.ws = webSocketUrl(addresses.http);
  if (plain !== null) {
    const port = await listen(plain, config.plainHost, config.plainPort);
    addresses.plain = urlOf('mqtt', reachable(config.plainHost), port);
    if (config.plainAuth === 'anonymous' && !isPlainAnonymous(config)) {
      log.warn(
        { event: 'plain-token', host: config.plainHost },
        'plain profile: not on loopback, so it asks for access tokens',
      );
    }
  }
  if (https && secure) {
    ports.https = await listenHttp(https, config.lanHost, config.httpsPort);
    ports.mqtts = await listen(secure.listener, config.lanHost, config.mqttsPort);
    addresses.https = urlOf('https', lanHost(lanNames), ports.https);
    addresses.mqtts = urlOf('mqtts', lanHost(lanNames), ports.mqtts);
    addresses.wss = webSocketUrl(addresses.https);
  }
  for (const bound of [http.server, https?.server, tcp, plain, secure?.listener]) {
    if (!bound) continue;
    keepListening(bound, (error, times) =>
      log.error({ event: 'accept-failed', err: error, times }, 'connections: not accepted'),
    );
  }

  const content = descriptorContent(config, { names: lanNames, ports }, tls?.caHash ?? null);
  const loaded = await loadDescriptor(data.path, keys, {
    now: now(),
    inForce: await versionInForce(evidence, { registry, keys }),
    logged: () => readLoggedDescriptor(evidence),
    onDamaged: (error, version) =>
      log.error({ err: error, version }, 'descriptor.cose: restored from the evidence log'),
    content,
  });
  const named = loaded.descriptor.keys;
  const checkPin = ({ ca }: Descriptor) => {
    if (!certificates || certificates.isPinnedBy(ca)) return;
    log.error({ remedy: remedyOf('ERR_TLS_PIN') }, 'ERR_TLS_PIN: devices refuse the certificates');
  };
  checkPin(loaded.descriptor);
  const own = {
    registry: ownKeyInForce(data.path, 'registry', named),
    log: ownKeyInForce(data.path, 'log', named),
  };
  const index = await logDescriptor(loaded, { evidence, registry, now });
  const wasReplaced = index !== null && !equalBytes(named.log, keys.log.publicKey);
  const isCompromised = isCompromisedIn(loaded.descriptor, keys.log.publicKey);
  signers.start(own, wasReplaced ? { log: keys.log, index, isCompromised } : undefined);
  const finished = finishRotations(data.path, named, keyFiles);
  if (finished.length > 0) log.info({ roles: finished }, 'role keys: replaced');
  openedDesk = new DescriptorDesk({
    dataDir: data.path,
    files: keyFiles,
    ...{ content, loaded, signers, evidence, registry, random, now, log },
    onInstalled: checkPin,
  });
  const { problem, rootHere, changes } = openedDesk.state();
  if (problem !== null && !rootHere && changes.length > 0) {
    const code = 'ERR_DESCRIPTOR_STALE';
    log.warn({ code, remedy: remedyOf(code) }, problem);
  }
  const descriptorWatch = new DescriptorWatch({
    ...{ log, now },
    descriptor: () => descriptor().descriptor,
    renew: () => descriptorDesk().renew(),
  });
  const applied = await catchUp({
    ...{ evidence, registry, directory, quarantine },
    access: accessDesk,
    tokens: tokenDesk,
    texts,
  });
  openedAccess = accessDesk;
  if (accessDesk.nameless > 0) {
    log.warn(
      { tokens: accessDesk.nameless },
      'access tokens: came back from the log, without names',
    );
  }
  await quarantine.adopt();
  if (applied > 0) log.info({ applied }, 'registry: caught up from the evidence log');

  let summedUp = counters.values();
  const logVerdicts = () => {
    const before = summedUp;
    summedUp = counters.values();
    const summary = verdictSummary(before, summedUp);
    if (summary !== null) log.info({ event: 'verdicts', ...summary }, 'verdicts: since the last');
  };
  const systemTopics = new SystemTopics(network);
  const publishCounters = () => {
    const sources = { counters, evidence, mqtt: metricsSources.mqtt, deviceCounts };
    const snapshot = systemSnapshot({ ...sources, quarantine, outages });
    for (const { topic, payload } of systemTopics.changes(snapshot, now())) {
      plainBroker.announce(topic, Buffer.from(payload), true);
    }
  };
  const lookAhead = () => {
    void descriptorWatch.check();
    credentials.check();
  };
  const timers = [
    setInterval(lookAhead, LOOK_AHEAD_MS),
    setInterval(publishCounters, config.countersIntervalMs),
    setInterval(logVerdicts, TALLY_INTERVAL_MS),
    setInterval(() => {
      writeTally().catch((error: unknown) => log.error({ err: error }, 'tally: not written'));
    }, TALLY_INTERVAL_MS),
    setInterval(() => void settle(), APPLIED_INTERVAL_MS),
  ];
  if (certificates && https && secure) {
    certificates.watch([secure.tls, https.server as unknown as Renewable]);
    cleanup.push(() => certificates.stop());
  }
  cleanup.push(() => {
    timers.forEach(clearInterval);
    logVerdicts();
  });
  replaceFile(addressFile(data.path), `${addresses.http}\n`, 0o644);
  ready = true;
  publishCounters();
  lookAhead();
  desk.open();
  log.info({ network, addresses, entries: evidence.size }, 'broker: ready');
  let stopping: Promise<void> | null = null;
  const stop = () => {
    stopping ??= unwind().then(() => log.info('broker: stopped'));
    return stopping;
  };
  const reloadCertificates = async () => certificates?.reload();
  return {
    ...{
      network,
      rootKey: keys.rootKey,
      addresses,
      plain: plainBroker,
      status,
      reloadCertificates,
      stop,
    },
    judgeAccessToken: access.judge,
  };
}

function openEvidence(
  config: BrokerConfig,
  context: {
    readonly folder: string;
    readonly network: string;
    readonly signers: RoleSigners;
    readonly log: Logger;
    readonly instruments: Instruments;
    readonly files: FileLayer;
  },
): Promise<EvidenceLog> {
  const { folder, network, signers, log, instruments, files } = context;
  const origin = `fieldproof/${network}/evidence`;
  return EvidenceLog.open({
    folder: join(folder, 'evidence'),
    origin,
    sign: (checkpoint) => signers.signCheckpoint(checkpoint),
    onFailure: (error) => log.error({ err: error }, 'evidence log: tried again'),
    ...instruments.evidenceOptions(files),
    settings: {
      maxPendingBytes: config.maxPendingBytes,
      publishIntervalMs: config.publishIntervalMs,
    },
  });
}

async function createVerifier(
  config: BrokerConfig,
  context: { readonly network: string; readonly log: Logger },
): Promise<{ readonly verifier: Verifier; readonly verify: Verify }> {
  const { network, log } = context;
  const { verifierThreads: threads, signatureLibrary } = config;
  const { library, reason, verify } = await loadSignatureVerifier(signatureLibrary);
  log.info({ library, reason, threads }, 'signatures are verified');
  if (threads === 0) return { verifier: createSyncVerifier(network, verify), verify };
  const onThreadError = (error: unknown) => log.error({ err: error }, 'verifying thread: died');
  const pool = createVerifyPool({ network, threads, signatureLibrary, onThreadError });
  return { verifier: pool, verify };
}

/** A rate with room for ten seconds of it at once. */
function perSecond(rate: number) {
  return { perSecond: rate, burst: rate * 10 };
}

/** As many at once as in a day. */
function perDay(rate: number) {
  return { perSecond: rate / 86_400, burst: rate };
}

function mapValues<In, Out>(
  record: Readonly<Record<string, In>>,
  map: (value: In) => Out,
): Readonly<Record<string, Out>> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
