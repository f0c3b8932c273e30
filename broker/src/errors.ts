/** Every code that the broker raises, sends in a reject or counts. `docs/errors.md` has one row per code. */

import { type ErrorRow, FieldproofError, PROTOCOL_ERRORS } from '@fieldproof/protocol/errors';

export const BROKER_ERRORS = {
  ERR_WRONG_NETWORK: {
    what: 'The topic names another network.',
    remedy: 'Publish to fp/1/<this network>/…; the network id is in the join line.',
  },
  ERR_TOPIC_FORBIDDEN: {
    what: 'The topic is not an up kind of the sender itself.',
    remedy: 'Publish to your own birth, telemetry, result, event, gap or relay topic only.',
  },
  ERR_RATE_DEVICE: {
    what: 'The device sends more messages or bytes than it may.',
    remedy:
      'Keep the envelope, wait as long as retryAfterMs says, then send at most at the rate of deviceMessagesPerSecond and deviceBytesPerSecond.',
  },
  ERR_RATE_OWNER: {
    what: 'The devices of one owner together send more messages than they may.',
    remedy:
      'Keep the envelope and wait as long as retryAfterMs says; the operator may raise ownerMessagesPerSecond.',
  },
  ERR_RETAINED: {
    what: 'The PUBLISH carries the retain flag.',
    remedy: 'Publish without retain: readings are never retained.',
  },
  ERR_QOS: {
    what: 'The PUBLISH has quality of service 2.',
    remedy: 'Publish with QoS 1; duplicates are recognised by boot and seq.',
  },
  ERR_KEY_UNKNOWN: {
    what: 'The kid of the envelope is not that of a key of the device, or the device is not enrolled.',
    remedy: 'Sign with the device’s current key.',
  },
  ERR_KEY_RETIRED: {
    what: 'The key is one of the device’s, but it was replaced: the boot is signed by another, or it is too late.',
    remedy:
      'Sign new boots with the current key; give up with a gap what a replaced key signed and nobody takes any more.',
  },
  ERR_SUSPENDED: {
    what: 'The device is suspended.',
    remedy:
      'See GET /v1/devices/<device>/standing: why, until when, and whether its owner may appeal. Keep the envelopes and send them again when it is over.',
  },
  ERR_CREDENTIAL_EXPIRED: {
    what: 'The credential of the device has expired.',
    remedy: 'Renew it with POST /v1/enrol without a token, then send again.',
  },
  ERR_WRONG_KIND: {
    what: 'The envelope was signed for another kind than that of its topic.',
    remedy: 'Publish it to the topic of the kind that is in its external_aad.',
  },
  ERR_EQUIVOCATION: {
    what: 'Another envelope with the same boot and seq is already recorded.',
    remedy: 'Never use a seq twice; make boot and seq durable before an envelope leaves.',
  },
  ERR_BOOT_CLONED: {
    what: 'Two devices use the same key: this boot is quarantined.',
    remedy: 'Stop the copy, delete its key file and enrol it as a device of its own.',
  },
  ERR_TIME_UNSYNCED: {
    what: 'A batch from a clock that is not synchronised states absolute times.',
    remedy: 'Use times relative to sealing until the clock has a bound.',
  },
  ERR_TIME_RELATIVE: {
    what: 'A batch with a clock bound states relative times.',
    remedy: 'Use absolute times, or state no bound.',
  },
  ERR_TIME_FUTURE: {
    what: 'A reading is later than it was received.',
    remedy: 'Correct the clock, or state the bound that it really has.',
  },
  ERR_RELAY_NOT_NAMED: {
    what: 'The leaf has not named this gateway, or is not enrolled.',
    remedy:
      'File the leaf’s delegation (POST /v1/devices/<leaf>/delegation) before its envelopes; the leaf keeps them meanwhile. devices show says whom it has named.',
  },
  ERR_RELAY_EXPIRED: {
    what: 'The delegation of the leaf has expired.',
    remedy: 'Have the leaf sign a new one (fieldproof-agent relay-through) and file it.',
  },
  ERR_RELAY_ENVELOPE: {
    what: 'What a gateway carried is no envelope that the leaf has signed for this kind.',
    remedy: 'Carry what a leaf sends byte for byte, under the kind of its topic.',
  },
  ERR_DELEGATION_STALE: {
    what: 'A newer delegation of the leaf is on file, or this one was taken back.',
    remedy: 'Have the leaf sign a new one: issued has to be above that of the last.',
  },
  ERR_DELEGATION_RATE: {
    what: 'The leaf has named gateways as often as it may in a day.',
    remedy: 'Wait as long as Retry-After says; the operator may raise delegationsPerDay.',
  },
  ERR_LOG_FULL: {
    what: 'The evidence log cannot be written.',
    remedy: 'Keep the envelopes and send them again; the operator must free disk space.',
  },
  ERR_LOG_CORRUPT: {
    what: 'Stored evidence has changed or is missing.',
    remedy: 'Stop using the disk, restore a backup; the message names the file and the place.',
  },
  ERR_INDEX_RANGE: {
    what: 'The index or size is above that of the log.',
    remedy: 'Ask for an index below the size of the newest checkpoint, or tail from the size.',
  },
  ERR_NONCE_INVALID: {
    what: 'The server nonce is not ours, older than 60 s or already used.',
    remedy: 'Fetch a new one from GET /v1/hello and use it at once, once.',
  },
  ERR_TOKEN_INVALID: {
    what: 'The enrolment token is unknown, used up, revoked or expired.',
    remedy: 'Ask the operator for a new join line.',
  },
  ERR_DEVICE_OWNED: {
    what: 'The device is enrolled by another owner.',
    remedy: 'Use the owner’s recovery phrase, or give the device a new key.',
  },
  ERR_KEY_IN_USE: {
    what: 'The key is or was that of a device.',
    remedy: 'Make a new key; every key belongs to one device for ever.',
  },
  ERR_FIRST_BOOT: {
    what: 'The new key would sign boots that an earlier key has signed, or there are none left.',
    remedy:
      'Ask with a firstBoot above every boot counter that the device has used; begin a new boot with it. When none are left, enrol the hardware as a new device.',
  },
  ERR_TOO_MANY_KEYS: {
    what: 'Eight replaced keys of the device still count: with one more the oldest would be forgotten.',
    remedy:
      'Wait until the first of them counts no more, or have the owner replace the key as compromised.',
  },
  ERR_ROTATION_RATE: {
    what: 'The key of the device was replaced as often as it may be in a day, by the device or by its owner.',
    remedy:
      'Wait as long as Retry-After says. When somebody else has the owner’s phrase or the device’s key, ask the operator for devices suspend, swap or transfer; they may raise rotationsPerDay.',
  },
  ERR_DEVICE_UNKNOWN: {
    what: 'No device with this id is enrolled.',
    remedy: 'Enrol it with a join line.',
  },
  ERR_STANDING: {
    what: 'What the request is about is not in force: a suspension, an appeal without a decision or a quarantine.',
    remedy: 'See what is: fieldproof-broker devices show <device>.',
  },
  ERR_EVIDENCE: {
    what: 'A suspension for something that was seen names no entry that shows it, or one about something else.',
    remedy: 'Name entries of the device or about it; only the kind operator does without.',
  },
  ERR_APPEAL_CLOSED: {
    what: 'The suspension is not the last one of the device, was appealed already, or its deadline has passed.',
    remedy: 'See GET /v1/devices/<device>/standing; ask the operator.',
  },
  ERR_UNAUTHORIZED: {
    what: 'The request has no valid bearer token of the scope that it needs.',
    remedy: 'Send Authorization: Bearer <token>; the tokens are in the data folder.',
  },
  ERR_SCOPE: {
    what: 'The bearer token does not open this, or would give or end what it has not itself.',
    remedy:
      'Use a token of the scope that the message names; fieldproof-broker access create makes one.',
  },
  ERR_OUTLIVES: {
    what: 'A token would be valid for longer than the one with which it is made.',
    remedy:
      'Leave days or hours out, and it ends with yours at the latest; for longer ask somebody whose token lasts longer, or use tokens/admin of the data folder.',
  },
  ERR_ADMIN_LOCAL: {
    what: 'Administration is served to this machine, or over TLS.',
    remedy: 'Use the HTTPS address, or run the command on the broker’s machine.',
  },
  ERR_NOT_FOUND: {
    what: 'There is nothing of this name, or at this address.',
    remedy:
      'See what there is: token list, access list or keys list of fieldproof-broker; the routes are in broker/README.md.',
  },
  ERR_REQUEST: {
    what: 'The request does not have the form that the route asks for.',
    remedy: 'The detail names what is wrong; the routes are in broker/README.md.',
  },
  ERR_UPGRADE: {
    what: 'This address speaks MQTT over WebSocket, not HTTP.',
    remedy: 'Open a WebSocket with the subprotocol mqtt there, as MQTT clients do with a ws URL.',
  },
  ERR_RATE_LIMIT: {
    what: 'Too many requests from this address, or too many tails at a time.',
    remedy: 'Wait as long as Retry-After says.',
  },
  ERR_INTERNAL: {
    what: 'The broker failed at this request.',
    remedy: 'Look at the broker’s log; try again.',
  },
  ERR_NOT_READY: {
    what: 'The broker is starting or stopping.',
    remedy: 'Try again in a moment.',
  },
  ERR_REGISTRY_DATABASE: {
    what: 'The database of the registry does not answer.',
    remedy: 'Start it, or correct databaseUrl; logins go on from memory, enrolments wait.',
  },
  ERR_DISK_LOW: {
    what: 'Less space is free in the data folder than minFreeBytes.',
    remedy: 'Free space or move the data folder to a larger disk.',
  },
  ERR_WEBHOOK: {
    what: 'The webhook does not take what is sent to it.',
    remedy:
      'Try it with fieldproof-broker webhook test; the receiver must answer with 2xx in 10 s.',
  },
  ERR_CONFIG: {
    what: 'The configuration has unknown keys or values outside their domain.',
    remedy: 'The message lists every problem; the settings are in broker/README.md.',
  },
  ERR_PORT_TAKEN: {
    what: 'Another program listens on the port.',
    remedy: 'Stop it, choose another port, or 0 for any free one.',
  },
  ERR_DATA_LOCKED: {
    what: 'Another broker uses the data folder.',
    remedy: 'Stop it or choose another folder with --data.',
  },
  ERR_DATA_NEWER: {
    what: 'The data folder was written by a newer version.',
    remedy: 'Run that version or a newer one.',
  },
  ERR_DESCRIPTOR_FILE: {
    what: 'The network descriptor is missing, damaged or no longer in force, and the evidence log has no copy of the one that is.',
    remedy:
      'Restore descriptor.cose from a backup; for the first start of a network put keys/root.key back.',
  },
  ERR_DESCRIPTOR_NEEDED: {
    what: 'The network has no signed descriptor yet, and its root key is kept offline.',
    remedy:
      'Run fieldproof-broker descriptor draft, sign the draft where the root key is, descriptor install, and start again: docs/guides/offline-root.md.',
  },
  ERR_DESCRIPTOR_STALE: {
    what: 'The network descriptor no longer says what is so, or ends soon, and the root key is kept offline.',
    remedy:
      'Run fieldproof-broker descriptor draft, sign the draft where the root key is, and descriptor install; the broker need not stop: docs/guides/offline-root.md.',
  },
  ERR_DESCRIPTOR_REFUSED: {
    what: 'A network descriptor or draft is of another network, not newer, not signed by the root key, ended, or names keys that are not here.',
    remedy: 'Make a new draft of the present state, sign that one, and install it.',
  },
  ERR_FILE_EXISTS: {
    what: 'A file that would be overwritten is already there.',
    remedy: 'Choose another name, or move it away: secrets are never overwritten.',
  },
  ERR_FILE_UNREADABLE: {
    what: 'A file that was named cannot be read or written.',
    remedy: 'Check its name and the rights to it.',
  },
  ERR_KEY_NOT_HERE: {
    what: 'The key is not in this data folder.',
    remedy: 'Run the command where the key is; the message names what is expected.',
  },
  ERR_KEY_FILE: {
    what: 'A key file is missing or malformed.',
    remedy: 'Restore it from a backup; never make a new one for an existing network.',
  },
  ERR_TLS_FILE: {
    what: 'A certificate file cannot be read or has no certificate in it.',
    remedy: 'Let tlsCert, tlsKey and tlsCa name PEM files that the broker may read.',
  },
  ERR_TLS_KEY: {
    what: 'The private key is unusable or does not belong to the certificate, or a key of the chain is too weak.',
    remedy:
      'Let tlsKey name the key of the first certificate in tlsCert, without a passphrase; RSA keys have 2,048 bits or more, those of curves 256.',
  },
  ERR_TLS_DATES: {
    what: 'A certificate of the chain has expired or is not yet valid.',
    remedy: 'Renew it; when its dates are right, correct the clock of this machine.',
  },
  ERR_TLS_NAMES: {
    what: 'The server certificate is not for the names by which devices come.',
    remedy:
      'Add the name to the setting names and start again; with a certificate of your own, get one that is for it, or use a name that it is for.',
  },
  ERR_TLS_CHAIN: {
    what: 'The certificates do not lead from the server to the CA that devices pin.',
    remedy:
      'Let tlsCert hold the full chain, the server first, and tlsCa the certificate of the CA; a self-signed server certificate cannot be pinned.',
  },
  ERR_TLS_PIN: {
    what: 'The certificates lead to another CA than the one that devices pin.',
    remedy:
      'Take certificates of the same CA, or start the broker again with keys/root.key at hand: it signs a descriptor with the new CA.',
  },
  ERR_PLAIN_FORBIDDEN: {
    what: 'A client of the plain profile published to, or subscribed to, what it may not.',
    remedy:
      'Publish outside fp/#, $SYS/# and $share/#; of fp/ read fp/1/<network>/d/+/state only; plainDenied lists what else is refused.',
  },
  ERR_PLAIN_TOPIC: {
    what: 'A topic or filter of the plain profile has too many levels or bytes.',
    remedy: 'Use a shorter one, or raise plainMaxTopicLevels or plainMaxTopicBytes.',
  },
  ERR_PLAIN_CLIENT_ID: {
    what: 'The client id belongs to a session of the plain profile that was begun with another login.',
    remedy: 'Use another client id, or the access token of that session.',
  },
  ERR_PLAIN_SESSIONS: {
    what: 'The plain profile has as many sessions as it may, offline ones included.',
    remedy: 'End some with a clean session, or raise plainMaxSessions.',
  },
  ERR_PLAIN_USER_SESSIONS: {
    what: 'A user of the plain profile has as many sessions as one may, offline ones included.',
    remedy: 'End some with a clean session, or raise plainMaxSessionsPerUser.',
  },
  ERR_PLAIN_SESSION_EXPIRED: {
    what: 'A session of the plain profile was offline for too long, and was ended.',
    remedy: 'Connect in time, or raise plainSessionExpiryMs.',
  },
  ERR_PLAIN_SUBSCRIPTIONS: {
    what: 'A client of the plain profile has as many subscriptions as it may, or all have, in number or bytes.',
    remedy:
      'Use wildcards or shorter filters, unsubscribe, or raise plainMaxSubscriptions, plainMaxSubscriptionBytes or plainMaxSubscriptionTotalBytes.',
  },
  ERR_PLAIN_RETAINED: {
    what: 'There was no room for a retained message of the plain profile; its topic has none now.',
    remedy: 'Remove some with empty ones, or raise plainMaxRetained or plainMaxRetainedBytes.',
  },
  ERR_PLAIN_QUEUE: {
    what: 'A message was dropped: too many, or too many bytes, wait for a client of the plain profile, or for all of them.',
    remedy:
      'Let the client read faster or be online, or raise plainMaxQueued, plainMaxQueuedBytes or plainMaxQueuedTotalBytes.',
  },
  ERR_PLAIN_QUEUE_AGE: {
    what: 'A message was dropped: it waited too long for a client of the plain profile.',
    remedy: 'Let the client connect in time, or raise plainMaxQueuedMs.',
  },
  ERR_PLAIN_IN_FLIGHT: {
    what: 'A message waits: its receiver in the plain profile has as many unacknowledged ones as it may.',
    remedy: 'Nothing is lost; acknowledge faster, or raise plainMaxInFlight.',
  },
  ERR_PLAIN_UNSENT: {
    what: 'Messages wait: clients of the plain profile together have not taken as much as they may of what they were sent.',
    remedy: 'Let clients read faster, or raise plainMaxUnsentTotalBytes.',
  },
  ERR_PLAIN_RATE: {
    what: 'A client of the plain profile sent packets faster than it may, and was read more slowly.',
    remedy: 'Nothing is lost; to let it be faster raise plainPacketsPerSecond.',
  },
  ERR_ADMIN_CLEAR: {
    what: 'The token would travel unencrypted to another machine.',
    remedy: 'Use the https address of the broker, or run the command on its machine.',
  },
  ERR_METHOD: {
    what: 'The path has another method.',
    remedy:
      'The header `allow` of the answer names those that it has; the routes are in broker/README.md.',
  },
  ERR_REQUEST_TOO_LARGE: {
    what: 'The request is longer than the route takes.',
    remedy: 'No request to the broker needs more than 65,536 bytes; send less.',
  },
  ERR_BROKER_UNREACHABLE: {
    what: 'No broker answers at the address.',
    remedy: 'Start it, or name its data folder with --data.',
  },
} as const satisfies Record<string, ErrorRow>;

export type BrokerErrorCode = keyof typeof BROKER_ERRORS;

/** Thrown by this package; devices see its code in rejects, people in problem details. */
export class BrokerError extends FieldproofError {
  declare readonly code: BrokerErrorCode;
  /** When it is worth asking again. */
  readonly retryAfterMs: number | null;

  constructor(
    code: BrokerErrorCode,
    message: string,
    options: { cause?: unknown; retryAfterMs?: number } = {},
  ) {
    const { retryAfterMs = null, ...rest } = options;
    super(code, message, rest);
    this.retryAfterMs = retryAfterMs;
  }
}

/** The remedy of a code of this package or of the protocol; empty for a code of neither. */
export function remedyOf(code: string): string {
  return rowOf(code)?.remedy ?? '';
}

/** The table row of a code of this package or of the protocol. */
export function rowOf(code: string): ErrorRow | undefined {
  if (Object.hasOwn(BROKER_ERRORS, code)) return BROKER_ERRORS[code as BrokerErrorCode];
  if (Object.hasOwn(PROTOCOL_ERRORS, code)) {
    return PROTOCOL_ERRORS[code as keyof typeof PROTOCOL_ERRORS];
  }
  return undefined;
}

/** One line for a person: what is wrong and what to do. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof FieldproofError)) {
    return `fieldproof-broker: ${error instanceof Error ? error.message : String(error)}`;
  }
  return `fieldproof-broker: ${error.code}: ${error.message}. ${remedyOf(error.code)}`;
}
