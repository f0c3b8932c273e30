/** Every file that the vectors make, with its content: JSON files, and documents with their examples. */

import { envelopeVectors, telemetryVectors } from './envelope.ts';
import { evidenceVectors, ledgerVectors } from './evidence.ts';
import { identityVectors } from './identity.ts';
import { messageVectors, settlementVectors, topicVectors } from './messages.ts';
import { registryVectors } from './registry.ts';
import { remoteConfigVectors } from './remote-config.ts';
import { renderCase, type VectorFile } from './vector-file.ts';

const EXAMPLE = /<!-- example:([a-z]+) -->(?:[\s\S]*?<!-- \/example -->)?/;

/**
 * @param read - gives the present text of a file of the repository.
 * @returns path below the repository → content.
 */
export async function generatedFiles(
  read: (path: string) => string,
): Promise<ReadonlyMap<string, string>> {
  const files: Readonly<Record<string, VectorFile>> = {
    envelope: envelopeVectors(),
    telemetry: telemetryVectors(),
    topics: topicVectors(),
    identity: identityVectors(),
    registry: registryVectors(),
    messages: messageVectors(),
    settlement: settlementVectors(),
    config: remoteConfigVectors(),
    evidence: await evidenceVectors(),
    ledger: ledgerVectors(),
  };
  const result = new Map<string, string>();
  for (const [name, file] of Object.entries(files)) {
    result.set(`protocol/vectors/${name}.json`, `${JSON.stringify(file, null, 2)}\n`);
    result.set(file.spec, withExamples(read(file.spec), { name, file }));
  }
  return result;
}

/** The document with the cases of `file` shown at its marker. */
export function withExamples(
  document: string,
  { name, file }: { readonly name: string; readonly file: VectorFile },
): string {
  const marker = EXAMPLE.exec(document);
  if (!marker || marker[1] !== name) {
    throw new Error(`${file.spec}: expected the marker <!-- example:${name} -->`);
  }
  const examples = file.cases.map(renderCase).join('\n\n');
  const block = `<!-- example:${name} -->\n\n## Example\n\n${examples}\n\n<!-- /example -->`;
  return document.replace(EXAMPLE, () => block);
}
