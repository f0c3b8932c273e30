/** Puts the parts of remote configuration together: history, desk, sender, tail. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { ConfigDesk } from './config-desk.ts';
import { ConfigHistory } from './config-history.ts';
import { ConfigTail } from './config-tail.ts';
import { downSender } from './down-sender.ts';

export interface DeviceConfigOptions {
  /** Folder of the history and the cursor, made when missing. */
  readonly folder: string;
  readonly brokerUrl: string;
  readonly brokerTokenFile: string;
  /** Folder with the role key `control`. */
  readonly keysDir: string;
  readonly clock: () => number;
  readonly log: Logger;
}

export interface DeviceConfigService {
  readonly desk: ConfigDesk;
  /** Listens to the evidence from now on, at the latest. */
  readonly listen: () => Promise<void>;
  stop(): Promise<void>;
}

/** Opens the history and goes on with what has no answer yet. @throws the file system's error. */
export async function openDeviceConfig(options: DeviceConfigOptions): Promise<DeviceConfigService> {
  const { folder, brokerUrl, brokerTokenFile, keysDir, clock, log } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { history, records, problems } = await ConfigHistory.open(join(folder, 'history.jsonl'));
  for (const problem of problems) log.error(`desired states: ${problem}`);
  const sender = downSender({ brokerUrl, brokerTokenFile, keysDir });
  const desk = new ConfigDesk({ history, records, sender, clock, log });
  const tail = new ConfigTail({
    ...{ desk, clock, log, path: join(folder, 'cursor.json') },
    source: { url: brokerUrl, token: () => readFile(brokerTokenFile, 'utf8') },
    end: () => sender.evidenceSize(),
  });
  if (!desk.isEmpty) await tail.start();
  desk.start();
  return {
    desk,
    listen: () => tail.start(),
    stop: async () => {
      await tail.stop();
      await desk.stop();
      await history.close();
    },
  };
}
