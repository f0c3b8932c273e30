/**
 * What the agent loads when it has edge functions, or is asked about raw readings: in the bundle a file of its own. It is
 * imported by `import()` only.
 */

export {
  checkEdgeDefinition,
  edgeOutputs,
  formatEdgeProblem,
  parseEdgeDefinition,
} from '@fieldproof/compute/edge-definition';
export { encodeAuditFile, MAX_AUDIT_BYTES, verifyAuditFile } from './audit-file.ts';
export { EdgeHost } from './edge-host.ts';
export { keptResults, rowOf } from './raw-reader.ts';
export { takenNames } from './result-names.ts';
