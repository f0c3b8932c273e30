/**
 * The agent's error codes: what happened, what its owner can do, and the exit code of the command line.
 *
 * Exit codes are those of sysexits.h: 64 usage, 65 data, 66 no input, 69 unavailable, 73 cannot create,
 * 74 input/output, 75 try again later, 77 no permission, 78 configuration.
 */

import { type ErrorRow, FieldproofError } from '@fieldproof/protocol/errors';

export interface AgentErrorRow extends ErrorRow {
  readonly exitCode: number;
}

export const AGENT_ERRORS = {
  ERR_AGENT_ANSWER_INVALID: {
    what: 'The server answered with something that is not what the specification says.',
    remedy: 'Check that the join line names a Fieldproof network and that no proxy alters answers.',
    exitCode: 65,
  },
  ERR_AGENT_APPEAL_REFUSED: {
    what: 'The network does not hear the appeal.',
    remedy: 'fieldproof-agent standing shows the suspension and its deadline; ask the operator.',
    exitCode: 77,
  },
  ERR_AGENT_BUNDLE: {
    what: 'A file of the bundle is missing, or this program does not run from a bundle.',
    remedy:
      'Copy fieldproof-agent.mjs together with its folder sensors, or make both: npm run bundle.',
    exitCode: 66,
  },
  ERR_AGENT_CA_MISMATCH: {
    what: 'The server showed a certificate that does not lead to the CA of the network.',
    remedy: 'Somebody may be in between: check the address; never send the token to this server.',
    exitCode: 77,
  },
  ERR_AGENT_CLONED: {
    what: 'Another device is at work with the same key, probably from a copied card: the network has quarantined this one.',
    remedy:
      "If this is the copy: stop it, then fieldproof-agent init --new-device --join '<join line>' makes it a device of its own. If the other one is: stop that one, then fieldproof-agent keys rotate here shuts it out.",
    exitCode: 77,
  },
  ERR_AGENT_CONFIG: {
    what: 'The configuration has mistakes.',
    remedy: 'Fix each named key; agent.example.yaml, beside the program, shows them all.',
    exitCode: 78,
  },
  ERR_AGENT_DESCRIPTOR: {
    what: 'The network descriptor is not the one that the join line pins, is older, or has expired.',
    remedy: 'Ask the operator for the current join line.',
    exitCode: 77,
  },
  ERR_AGENT_ENROL_REFUSED: {
    what: 'The network refused the enrolment.',
    remedy: 'Ask the operator for a new join line if the token is used up or has expired.',
    exitCode: 77,
  },
  ERR_AGENT_FLASH: {
    what: 'The folder cannot be prepared as the boot partition of a device.',
    remedy:
      'Write Raspberry Pi OS (64-bit, with cloud-init) to the card, mount it, and name its partition bootfs.',
    exitCode: 73,
  },
  ERR_AGENT_GATEWAY: {
    what: 'The gateway cannot listen, or something else answers in its place.',
    remedy:
      'Check gateway.listen, and on the leaf the address and id of relay-through; fieldproof-agent status on the gateway shows both.',
    exitCode: 69,
  },
  ERR_AGENT_LEAF: {
    what: 'A leaf sent its gateway what it may not, or there is no room for it. Its connection ends.',
    remedy:
      'Update the agent of the leaf; fieldproof-agent status on the gateway shows how much waits.',
    exitCode: 65,
  },
  ERR_AGENT_IDENTITY: {
    what: 'The device has another key or another id than it had at its start.',
    remedy: 'A running agent starts anew with them by itself; run the command again.',
    exitCode: 75,
  },
  ERR_AGENT_INSTALL: {
    what: 'A step of the installation failed.',
    remedy: 'Remove what it names as the reason and run it again; what was done stays.',
    exitCode: 73,
  },
  ERR_AGENT_INTERRUPTED: {
    what: 'A person left before the last question was answered.',
    remedy: 'Nothing was made; run the command again.',
    exitCode: 130,
  },
  ERR_AGENT_JOIN_LINE: {
    what: 'The join line is incomplete or misspelt.',
    remedy: 'Paste the whole line, from fieldproof:// to its end, in quotes.',
    exitCode: 64,
  },
  ERR_AGENT_KEY: {
    what: 'The device key is missing, unreadable, or readable by others.',
    remedy: 'Run init in an empty folder, or restore device.key and chmod 600 it.',
    exitCode: 77,
  },
  ERR_AGENT_LOCKED: {
    what: 'Another agent is running on this data folder.',
    remedy: 'Stop the other agent, or give this one a folder of its own.',
    exitCode: 75,
  },
  ERR_AGENT_LOGIN_REFUSED: {
    what: 'The broker refused the login.',
    remedy: 'fieldproof-agent standing says whether the device is suspended, and why.',
    exitCode: 77,
  },
  ERR_AGENT_NOT_INITIALISED: {
    what: 'The data folder holds no agent yet.',
    remedy: "Run fieldproof-agent init --join '<join line>' --data <folder> first.",
    exitCode: 66,
  },
  ERR_AGENT_OUTBOX: {
    what: 'The outbox cannot be written.',
    remedy: 'Free disk space or replace the card; sampling goes on, losses are declared.',
    exitCode: 74,
  },
  ERR_AGENT_OWNER: {
    what: 'The owner is neither NEW, a did:key with an ownership file, nor a recovery phrase.',
    remedy: 'Use --owner NEW, or --owner-phrase-file with the twelve words.',
    exitCode: 64,
  },
  ERR_AGENT_PERMISSION: {
    what: 'A file or folder belongs to another user.',
    remedy:
      'Run it as the user that the folder belongs to, for an installed agent with sudo -u fieldproof; or give the folder to your user: sudo chown -R "$USER" <folder>.',
    exitCode: 77,
  },
  ERR_AGENT_RAW: {
    what: 'The raw readings behind results cannot be kept or read.',
    remedy:
      'Free disk space or replace the card; sampling goes on, results that cannot be proved are lost and counted.',
    exitCode: 74,
  },
  ERR_AGENT_RAW_CONTRADICTED: {
    what: 'A result does not follow from its raw readings.',
    remedy: 'The message names the difference; keep the file, and ask whoever made it.',
    exitCode: 65,
  },
  ERR_AGENT_REPLAY: {
    what: 'The file to replay cannot be read as configured.',
    remedy: 'Check the file name, the column names and the time format.',
    exitCode: 65,
  },
  ERR_AGENT_ROOT: {
    what: 'The command changes the system and was not run by root.',
    remedy: 'Run it again with sudo; --dry-run shows beforehand what it would do.',
    exitCode: 77,
  },
  ERR_AGENT_SENSOR: {
    what: 'A sensor cannot be read.',
    remedy: 'Check its wiring and options; it is tried again with growing pauses.',
    exitCode: 74,
  },
  ERR_AGENT_ROTATION_REFUSED: {
    what: 'The network does not take the new key.',
    remedy: 'The old key is still in force. Run the command again; else ask the operator why.',
    exitCode: 77,
  },
  ERR_AGENT_STATE: {
    what: 'A file of the data folder is damaged or cannot be written.',
    remedy: 'Check the disk; restore the file from a backup, or start in a new folder.',
    exitCode: 74,
  },
  ERR_AGENT_TRANSFER_REFUSED: {
    what: 'The network refused to give the device to another owner.',
    remedy:
      "Use the present owner's phrase, and a statement of the new owner about this very device.",
    exitCode: 77,
  },
  ERR_AGENT_UNHEALTHY: {
    what: 'The doctor found something that keeps the agent from its work.',
    remedy: 'Each finding says what to do; look again afterwards.',
    exitCode: 69,
  },
  ERR_AGENT_UNREACHABLE: {
    what: 'The network cannot be reached.',
    remedy: 'Check address, network and firewall; the agent records and tries again by itself.',
    exitCode: 69,
  },
  ERR_AGENT_USAGE: {
    what: 'The command line was not understood.',
    remedy: 'See fieldproof-agent --help.',
    exitCode: 64,
  },
} as const satisfies Record<string, AgentErrorRow>;

export type AgentErrorCode = keyof typeof AGENT_ERRORS;

/** Thrown by every module of the agent. */
export class AgentError extends FieldproofError {
  declare readonly code: AgentErrorCode;

  constructor(code: AgentErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}

/**
 * The code under which a person is told of anything that was thrown: what another user's files keep from being read or
 * written is that, whatever it was needed for.
 */
export function toldCodeOf(error: unknown): string | undefined {
  let cause: unknown = error;
  for (let depth = 0; depth < 4 && cause !== undefined; depth += 1) {
    const code = codeOf(cause);
    if (code === 'EACCES' || code === 'EPERM') return 'ERR_AGENT_PERMISSION';
    cause = (cause as { cause?: unknown } | null)?.cause;
  }
  return codeOf(error);
}

/** The message of anything that was thrown, without its stack. */
export function reasonOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'message' in error) {
    const { message } = error as { message: unknown };
    if (typeof message === 'string' && message !== '') return message;
  }
  return codeOf(error) ?? String(error);
}

/** The `code` of anything that was thrown. Errors of Node's core carry one too (`ENOSPC`). */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
