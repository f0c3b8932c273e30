/** The way in: the door, the front desk, the brokers behind it and the gate that judges what devices send. */

import type { Verify } from '@fieldproof/protocol/envelope';
import { relayProblem } from '@fieldproof/protocol/registry-device';
import { remedyOf, rowOf } from '../errors.ts';
import { Counters } from '../gate/counters.ts';
import { Gate } from '../gate/gate.ts';
import { Rates } from '../gate/rates.ts';
import { Receipts } from '../gate/receipts.ts';
import { loadSignatureVerifier } from '../gate/signature-verifier.ts';
import { createSyncVerifier, type Verifier } from '../gate/verifier.ts';
import { createVerifyPool } from '../gate/verify-pool.ts';
import { noticeLevel } from '../log.ts';
import { BackPressure } from '../mqtt/back-pressure.ts';
import { Door } from '../mqtt/door.ts';
import { FrontDesk } from '../mqtt/front-desk.ts';
import { HeldPackets } from '../mqtt/held-packets.ts';
import { isStillGood, judgeLogin } from '../mqtt/login.ts';
import { MqttServer } from '../mqtt/mqtt-server.ts';
import { PlainBroker } from '../mqtt/plain/plain-broker.ts';
import { isPlainAnonymous } from '../mqtt/plain/settings.ts';
import { Refusals } from '../mqtt/refusals.ts';
import { Slices } from '../mqtt/slices.ts';
import { Nonces } from '../nonces.ts';
import { RateLimiter } from '../rate-limit.ts';
import type { DeviceLink } from './device-link.ts';
import type { Foundation } from './foundation.ts';
import type { Rights } from './rights.ts';

/** Failed signatures tried under other kinds, for all devices together. */
const DIAGNOSES = { perSecond: 20, burst: 40 };

export type Intake = Awaited<ReturnType<typeof openIntake>>;

export async function openIntake(base: Foundation, rights: Rights, link: DeviceLink) {
  const { config, network, signers, evidence, access, shareOf, random, now, log, cleanup } = base;
  const { directory, sightings, clones, quarantine, outages } = rights;
  const { publishDown, isOnline, isReachable } = link;
  const counters = new Counters();
  const { verifier, verify } = await createVerifier(base);
  cleanup.push(() => verifier.stop());
  const nonces = new Nonces({ now, random });
  const diagnoses = new RateLimiter(DIAGNOSES, now);
  const receipts = new Receipts({
    network,
    signer: signers.log,
    evidence,
    publishDown,
    isOnline: isReachable,
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
    relayProblem: (leaf, gateway) => {
      const device = directory.get(leaf);
      return device === null ? 'not-named' : relayProblem(device, gateway, now());
    },
    suspendedUntil: (deviceId) => directory.get(deviceId)?.suspension?.until ?? null,
    mayDiagnose: () => diagnoses.take('all') === 0,
    onClone: (deviceId, clone) => void quarantine.quarantine(deviceId, clone),
    onFreshBirth: (deviceId, boot, index) => quarantine.freshBirth(deviceId, boot, index),
    onRejected: (deviceId, { code, message }) =>
      log.info({ event: 'reject', deviceId, code, detail: message }, 'reject'),
    onAccepted: (deviceId, at, birth) => {
      sightings.seen(deviceId, at);
      if (!isOnline(deviceId)) outages.heard(deviceId);
      if (birth !== null) sightings.born(deviceId, birth);
    },
    now,
  });
  const refusals = new Refusals();
  const onNotice = (event: string, detail: object) =>
    log[noticeLevel(event)]({ event, ...detail }, event);
  const slices = new Slices();
  const door = new Door({
    limits: config,
    shareOf,
    slices,
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
  link.attach(server, (leaf) => {
    const device = directory.get(leaf);
    const gateway = device?.delegation?.gateway ?? null;
    if (device === null || gateway === null) return null;
    return relayProblem(device, gateway, now()) === null ? gateway : null;
  });
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
    slices,
    limits: config,
    // A will may have 64 KiB; a stranger from elsewhere is not given as much.
    ...(isPlainAnonymous(config) && { maxPlainConnectBytes: config.plainMaxPacketBytes }),
    onNotice,
  });

  return {
    ...{ counters, verifier, nonces, diagnoses, receipts, refusals, onNotice },
    ...{ door, slices, held, desk, server, plainBroker },
  };
}

async function createVerifier({
  config,
  network,
  log,
}: Foundation): Promise<{ readonly verifier: Verifier; readonly verify: Verify }> {
  const { verifierThreads: threads, signatureLibrary } = config;
  const { library, reason, verify } = await loadSignatureVerifier(signatureLibrary);
  log.info({ library, reason, threads }, 'signatures are verified');
  if (threads === 0) return { verifier: createSyncVerifier(network, verify), verify };
  const onThreadError = (error: unknown) => log.error({ err: error }, 'verifying thread: died');
  const pool = createVerifyPool({ network, threads, signatureLibrary, onThreadError });
  return { verifier: pool, verify };
}
