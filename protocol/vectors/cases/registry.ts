/** Examples of docs/spec/registry.md. */

import { sealAppeal } from '../../src/appeal.ts';
import { sealRegistryAction } from '../../src/registry-actions.ts';
import { network, serverNonce } from './identity.ts';
import { device, NOON, owner, registry } from './people.ts';
import { cborCase, type VectorFile } from './vector-file.ts';

const DAY = 86_400_000;

export function registryVectors(): VectorFile {
  const suspend = sealRegistryAction(
    {
      action: 'suspend',
      subject: device.id,
      reason: 'two copies of the key are at work',
      kind: 'ERR_BOOT_CLONED',
      evidence: [7, 9],
      until: NOON + 14 * DAY,
      appealUntil: NOON + 30 * DAY,
    },
    { network, signer: registry },
  );
  const token = sealRegistryAction(
    {
      action: 'token',
      subject: '5f'.repeat(32),
      uses: 1,
      expires: NOON + DAY,
      group: 'default',
      cell: '',
      name: 'roof',
      by: new Uint8Array(32).fill(0xa5),
    },
    { network, signer: registry },
  );
  const appeal = sealAppeal(
    {
      nonce: serverNonce,
      device: device.id,
      suspension: 12,
      text: 'The card was restored from a backup; the copy is destroyed.',
    },
    { network, signer: owner },
  );
  return {
    spec: 'docs/spec/registry.md',
    cases: [
      cborCase(
        {
          name: 'suspend',
          about: `The statement of a \`suspend\` entry. Signed by registry, external_aad ["${network}", "registry"].`,
        },
        suspend,
      ),
      cborCase(
        {
          name: 'appeal',
          about: `Against the suspension in entry 12. Signed by owner, external_aad ["${network}", "appeal", device id].`,
        },
        appeal,
      ),
      cborCase(
        {
          name: 'token',
          about: `The statement of a \`token\` entry: an enrolment token that an access token has made. Signed by registry, external_aad ["${network}", "registry"].`,
        },
        token,
      ),
    ],
  };
}
