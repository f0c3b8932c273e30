/** The desks that people and devices ask over HTTP, and how often they may. */

import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { RateLimiter } from '../rate-limit.ts';
import { DelegationDesk } from '../registry/delegation.ts';
import type { DeskOptions } from '../registry/desk.ts';
import { DetailsDesk } from '../registry/details.ts';
import { EnrolmentDesk } from '../registry/enrolment.ts';
import { RotationDesk } from '../registry/rotation.ts';
import { SuspensionDesk } from '../registry/suspensions.ts';
import { TransferDesk } from '../registry/transfer.ts';
import type { Foundation } from './foundation.ts';
import type { Intake } from './intake.ts';
import type { Later } from './later.ts';
import type { Rights } from './rights.ts';

export type Desks = ReturnType<typeof composeDesks>;

export function composeDesks(
  base: Foundation,
  {
    rights,
    intake,
    later,
  }: { readonly rights: Rights; readonly intake: Intake; readonly later: Later },
) {
  const { config, network, signers, registry, evidence, certificates, now } = base;
  const { directory, texts } = rights;
  const { nonces, diagnoses, server } = intake;
  const deskOptions: DeskOptions = {
    network,
    signer: signers.registry,
    registry,
    directory,
    tokens: rights.tokenDesk,
    nonces,
    credentialDays: config.credentialDays,
    rotationGraceDays: config.rotationGraceDays,
    highestBoot: (deviceId) =>
      evidence
        .bootsOf(publicKeyFromDeviceId(deviceId))
        .reduce((highest, { counter }) => Math.max(highest, counter), -1),
    disconnect: (deviceId) => server.disconnect(deviceId),
    clearState: (deviceId) => server.clearState(deviceId),
    newcomers: rights.newcomers,
    descriptor: () => later.descriptor().envelope,
    caPem: () => certificates?.current.caPem ?? null,
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
    delegations: new RateLimiter(perDay(config.delegationsPerDay), now),
  };

  return {
    ...{ details, suspensions, limiters },
    enrolment: new EnrolmentDesk(deskOptions),
    rotations: new RotationDesk({ ...deskOptions, rotationLimit: limiters.rotations }),
    transfers: new TransferDesk(deskOptions),
    delegations: new DelegationDesk({ network, directory, now, limit: limiters.delegations }),
  };
}

/** A rate with room for ten seconds of it at once. */
function perSecond(rate: number) {
  return { perSecond: rate, burst: rate * 10 };
}

/** As many at once as in a day. */
function perDay(rate: number) {
  return { perSecond: rate / 86_400, burst: rate };
}
