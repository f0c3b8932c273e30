/** The error codes of this package, and the class that carries them. */

import { type ErrorRow, FieldproofError } from '@fieldproof/protocol/errors';

export const COMPUTE_ERRORS = {
  ERR_EDGE_DEFINITION: {
    what: 'The text or CBOR does not define edge functions.',
    remedy: 'The message names each problem and its place; see docs/spec/edge-functions.md.',
  },
  ERR_EDGE_STATE: {
    what: 'The saved state of an edge function is damaged, or belongs to another definition.',
    remedy: 'Begin with an empty state; windows that were open are lost, raw readings are not.',
  },
  ERR_POLICY: {
    what: 'A policy of pay has mistakes.',
    remedy:
      'The message names each, what was expected and what is there; see docs/spec/rewards.md.',
  },
} as const satisfies Record<string, ErrorRow>;

export type ComputeErrorCode = keyof typeof COMPUTE_ERRORS;

/** Thrown by every `parse*`, `decode*` and `restore*` of this package. */
export class ComputeError extends FieldproofError {
  declare readonly code: ComputeErrorCode;

  constructor(code: ComputeErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}
