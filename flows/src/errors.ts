/** The flows package's error codes. Style and rules as in `@fieldproof/protocol/errors`. */
import { type ErrorRow, FieldproofError } from '@fieldproof/protocol/errors';

export const FLOWS_ERRORS = {
  ERR_FLOWS_CONFIG: {
    what: 'The configuration of the flows process is not usable.',
    remedy: 'The message lists every problem; the keys are in flows/README.md.',
  },
  ERR_FLOWS_PORT_TAKEN: {
    what: 'Another program listens on the port of the editor.',
    remedy: 'Stop the other program, or choose another port (port; 0 for any).',
  },
  ERR_FLOWS_NODE_MISSING: {
    what: 'A flow uses a type of node that is not installed; Node-RED then starts no flow at all.',
    remedy: 'Install the package that has the type into the flows folder, or remove the node.',
  },
  ERR_FLOWS_START: {
    what: 'Node-RED did not start.',
    remedy: 'The message says why; the log of the flows process says more.',
  },
  ERR_NETWORK_INCOMPLETE: {
    what: 'The network that a node uses lacks an address or a token.',
    remedy: 'Open the network in the editor and fill in what the message names.',
  },
  ERR_HANDLE_UNKNOWN: {
    what: 'The message has the handle of a batch that is no longer there.',
    remedy: 'Do not keep handles: what was not acknowledged is sent again by itself.',
  },
  ERR_STORE_BACKLOG: {
    what: 'A store or window node has too many readings of plain messages in hand, because the store is down or slow; this message is refused.',
    remedy:
      'Wait until the store takes them, and send the message again (a catch node sees it). Readings of the evidence are sent again by themselves. maxWaitingReadings is the limit.',
  },
  ERR_READING_SHAPE: {
    what: 'A message payload is neither a handle nor readings.',
    remedy: 'Send {device, profile, metric, value, time}, or an array of these; see the help.',
  },
} as const satisfies Record<string, ErrorRow>;

export type FlowsErrorCode = keyof typeof FLOWS_ERRORS;

/** Thrown by everything in this package that fails. */
export class FlowsError extends FieldproofError {
  declare readonly code: FlowsErrorCode;

  constructor(code: FlowsErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}
