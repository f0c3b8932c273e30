/** `fieldproof-agent flash`: a card that joins by itself. */

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { bundleFolder } from './bundle-place.ts';
import { AgentError, reasonOf } from './errors.ts';
import { flashBoot } from './flash.ts';

interface FlashFlags {
  readonly boot: string;
  readonly join: string;
  readonly name: string;
  readonly hostname?: string;
  readonly wifiSsid?: string;
  readonly wifiPasswordFile?: string;
  readonly country?: string;
  readonly sshKeyFile?: string;
  readonly nodeTarball?: string;
  readonly ownerPhraseFile?: string;
  readonly bundle?: string;
  readonly replace?: boolean;
}

/** Adds the command. */
export function addFlashCommand(
  program: Command,
  context: {
    readonly out: (text: string) => void;
    readonly random: (length: number) => Uint8Array;
  },
): void {
  program
    .command('flash')
    .description(
      'prepare a Raspberry Pi OS card: at its first start it installs the agent and joins',
    )
    .requiredOption('--boot <folder>', 'where the boot partition of the card is mounted')
    .requiredOption('--join <line>', 'the join line that the operator shows')
    .option('--name <name>', 'how people call this device', 'agent')
    .option('--hostname <name>', 'its name in your network')
    .option('--wifi-ssid <name>', 'wireless network; needs the two options below')
    .option('--wifi-password-file <file>', 'file with its password')
    .option('--country <code>', 'where the device is, two letters: radio rules')
    .option('--ssh-key-file <file>', 'public keys that may log in as user pi')
    .option('--node-tarball <file>', 'node-v…-linux-arm64.tar.xz, for a place without internet')
    .option(
      '--owner-phrase-file <file>',
      "file with the owner's twelve words; default: a new owner",
    )
    .option('--bundle <folder>', 'folder with fieldproof-agent.mjs, default this program')
    .option('--replace', 'replace what is prepared there already without asking')
    .action(async (flags: FlashFlags) => {
      const { wifiSsid: ssid, wifiPasswordFile, country } = flags;
      const given = [ssid, wifiPasswordFile, country].filter((each) => each !== undefined).length;
      if (given !== 0 && given !== 3) {
        const message = 'expected --wifi-ssid, --wifi-password-file and --country together';
        throw new AgentError('ERR_AGENT_USAGE', message);
      }
      const { out, random } = context;
      const { phrase, ...made } = await flashBoot({
        boot: resolve(flags.boot),
        joinLine: flags.join,
        name: flags.name,
        bundle: bundleFolder(flags.bundle),
        hostname: flags.hostname,
        nodeTarball: flags.nodeTarball,
        sshKeys: flags.sshKeyFile === undefined ? undefined : await readText(flags.sshKeyFile),
        owner:
          flags.ownerPhraseFile === undefined
            ? { type: 'new' }
            : { type: 'phrase', phrase: await readText(flags.ownerPhraseFile) },
        wifi:
          ssid === undefined
            ? undefined
            : {
                ...{ ssid, country: country! },
                password: (await readText(wifiPasswordFile!)).replace(/\r?\n$/, ''),
              },
        mayReplace: async (what) => flags.replace === true || (await ask(what)),
        random,
      });
      out(`device    ${made.deviceId}${made.madeKey ? '' : ' (was here already)'}\n`);
      out(`owner     ${made.owner}${made.madeOwner ? '' : ' (was here already)'}\n`);
      out(`network   ${made.network}\n`);
      if (phrase !== undefined) {
        out("\nThe owner's recovery phrase, shown this once and kept nowhere: write it down.\n\n");
        out(`    ${phrase}\n\n`);
      }
      out(
        'The card holds the key of one device until its first start: never copy it to a second.\n',
      );
      out('Next: unmount it and start the device. It joins within some minutes.\n');
    });
}

async function ask(what: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return false;
  const line = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await line.question(`The card has ${what}. Replace it? [y/N] `);
  line.close();
  return /^y(es)?$/i.test(answer.trim());
}

async function readText(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_USAGE', `${path}: ${reasonOf(cause)}`, { cause });
  });
}
