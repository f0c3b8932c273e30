/** What the HTTP routes need of the rest. */

import type { HttpServerOptions } from '../http/http-server.ts';
import { lanHost, reachable } from '../listeners.ts';
import type { Bound } from './bound.ts';
import type { Desks } from './desks.ts';
import type { DeviceLink } from './device-link.ts';
import type { Foundation } from './foundation.ts';
import type { Intake } from './intake.ts';
import type { Later } from './later.ts';
import type { Rights } from './rights.ts';
import type { Watching } from './watching.ts';

export function composeRoutes(
  base: Foundation,
  parts: {
    readonly rights: Rights;
    readonly intake: Intake;
    readonly desks: Desks;
    readonly watching: Watching;
    readonly link: DeviceLink;
    readonly later: Later;
    readonly bound: Bound;
  },
): HttpServerOptions['routes'] {
  const { rights, intake, desks, watching, link, later, bound } = parts;
  const { config, network, signers, keys, registry, evidence, access, certificates } = base;
  const { ring, shareOf, random, now } = base;
  const { directory, texts, accessDesk, tokenDesk, sightings, quarantine, webhook } = rights;
  const { details, suspensions, limiters } = desks;
  const { status, health, metrics, deviceCounts } = watching;
  const tls = certificates?.current ?? null;
  return {
    ...{ network, signer: signers.registry, rootKey: keys.rootKey, nonces: intake.nonces },
    desk: desks.enrolment,
    ...{ rotations: desks.rotations, transfers: desks.transfers },
    delegations: desks.delegations,
    ...{ descriptor: later.descriptor, descriptorDesk: later.descriptorDesk },
    ...{ evidence, access, accessDesk, tokenDesk, registry, directory, sightings },
    ...{ publishDown: link.publishDown, isOnline: link.isOnline },
    maxTails: config.maxTails,
    isEnrolled: (deviceId) => (directory.get(deviceId)?.status ?? 'unenrolled') !== 'unenrolled',
    ...{ texts, details, suspensions, quarantine },
    joinAddress: () =>
      tls === null
        ? { host: reachable(config.host), port: bound.ports.http, plain: true }
        : {
            ...{ host: lanHost(bound.lanNames), port: bound.ports.https, plain: false },
            covers: tls.covers,
          },
    ...{ helloLimit: limiters.hello, enrolLimit: limiters.enrol, shareOf },
    ...{ status, health, metrics, webhook, config, ring, deviceCounts },
    certificateDates: watching.certificateDates,
    ...{ random, now },
  };
}
