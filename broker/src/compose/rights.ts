/** Who may do what: devices, tokens, quarantines; and who watches over them. */

import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { isSuspended } from '@fieldproof/protocol/registry-device';
import { CloneWatch } from '../gate/clones.ts';
import { CredentialWatch } from '../observe/credential-watch.ts';
import { Outages } from '../observe/outages.ts';
import { VERSION } from '../observe/version.ts';
import { openWebhook } from '../observe/webhook.ts';
import { AccessDesk } from '../registry/access-desk.ts';
import { catchUp } from '../registry/catch-up.ts';
import { DAY_MS } from '../registry/desk.ts';
import { eraseOwed } from '../registry/details.ts';
import { DeviceTexts } from '../registry/device-texts.ts';
import { Directory } from '../registry/directory.ts';
import { lastRecorded } from '../registry/last-recorded.ts';
import { Newcomers } from '../registry/newcomers.ts';
import { QuarantineDesk } from '../registry/quarantine.ts';
import { Sightings } from '../registry/sightings.ts';
import { TokenDesk } from '../registry/token-desk.ts';
import { ToldStore } from '../registry/told-store.ts';
import type { DeviceLink } from './device-link.ts';
import type { Foundation } from './foundation.ts';

export type Rights = Awaited<ReturnType<typeof openRights>>;

export async function openRights(base: Foundation, { isOnline }: Pick<DeviceLink, 'isOnline'>) {
  const { config, network, signers, registry, database, evidence, random, now, log } = base;
  const { cleanup } = base;
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
  const tokenDesk: TokenDesk = new TokenDesk({
    ...{ network, signer: signers.statements, evidence, registry, random, now },
    onDatabaseError,
    inForce: (maker, work) => accessDesk.inForce(maker, work),
  });
  const accessDesk = new AccessDesk({
    ...{ network, signer: signers.statements, evidence, db: database, random, now },
    onDatabaseError,
    enrolments: tokenDesk,
  });
  const newcomers = new Newcomers({
    ...{ directory, registry, texts },
    onError: (error, deviceId) =>
      log.error({ err: error, deviceId }, 'enrolment: site and notes not kept yet'),
  });
  /** Before that the database may lack anything of the log, also when the start fails and is taken back. */
  const progress = { isCaughtUp: false };
  /** Nothing of the log up to here needs to be read again, once the database has all of it. */
  const settle = async () => {
    if (!progress.isCaughtUp) return;
    const { size } = evidence;
    // At once: a stop must not wait for a silent database four times over.
    const settled = await Promise.all([
      accessDesk.settle(),
      tokenDesk.settle(),
      newcomers.settle(),
      eraseOwed(directory, texts),
    ]);
    if (settled.every(Boolean)) await directory.settle(size);
  };
  cleanup.push(settle);
  await directory.load();
  await accessDesk.load();
  await tokenDesk.load();
  const sightings = new Sightings(registry, (error) =>
    log.error({ err: error }, 'registry: birth not stored'),
  );
  await sightings.load();

  const webhook = openWebhook(config, {
    ...{ dataDir: base.folder, network, version: VERSION, random, now, log },
    onSecret: (secret) => base.scrubber.add(secret),
  });
  const outages = new Outages({
    ...{ offlineAfterMs: config.offlineAfterMs, monotonicMs: () => performance.now(), log, now },
    store: new ToldStore(database, 'outage'),
    devices: () => directory.all(),
    device: (deviceId) => directory.get(deviceId),
    isOnline,
    lastHeard: async (deviceId) =>
      sightings.of(deviceId).lastSeenMs ?? (await lastRecorded(evidence, deviceId)),
    send: (event) => webhook?.send(event),
  });
  await outages.start();
  const credentials = new CredentialWatch({
    ...{ isSuspended, log, now },
    warnMs: config.credentialWarnDays * DAY_MS,
    store: new ToldStore(database, 'credential-expiring'),
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

  return {
    ...{ texts, directory, accessDesk, tokenDesk, newcomers, progress, settle, sightings },
    ...{ webhook, outages, credentials, clones, quarantine },
  };
}

/** Applies what the log has and the database has not; named tokens are good from then on. */
export async function catchUpFromLog(base: Foundation, rights: Rights): Promise<void> {
  const { evidence, registry, named, log } = base;
  const { directory, quarantine, accessDesk, tokenDesk, texts, newcomers } = rights;
  const applied = await catchUp({
    ...{ evidence, registry, directory, quarantine },
    ...{ access: accessDesk, tokens: tokenDesk, texts, newcomers },
  });
  named.desk = accessDesk;
  if (accessDesk.nameless > 0) {
    log.warn(
      { tokens: accessDesk.nameless },
      'access tokens: came back from the log, without names',
    );
  }
  await quarantine.adopt();
  rights.progress.isCaughtUp = true;
  if (applied > 0) log.info({ applied }, 'registry: caught up from the evidence log');
}
