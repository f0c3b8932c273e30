/** Mosquitto as a peer: anonymous, on one free port, nothing kept. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, isListening, startProgram } from './child.ts';
import { freePorts } from './free-ports.ts';
import { type Own, temporaryFolder } from './resources.ts';

/** Starts it with its default queues. */
export async function startMosquitto(
  own: Own,
  program: string,
): Promise<{ readonly child: Child; readonly mqttPort: number }> {
  const [port] = await freePorts(1);
  const config = join(temporaryFolder(own), 'mosquitto.conf');
  writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\npersistence false\n`);
  const args = ['-c', config];
  const child = await startProgram({ program, args, isUp: () => isListening(port!) });
  own(() => child.stop());
  return { child, mqttPort: port! };
}
