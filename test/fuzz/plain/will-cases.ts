/** Wills and client ids: who ends how, what is then said for it, and who takes whose place. */

import type { Chance } from '../chance.ts';
import { Finding } from '../finding.ts';
import { connectOf, endSession, FuzzClient, type PlainTarget } from './plain-client.ts';
import { isReserved } from './second-reading.ts';

const WAYS = ['vanish', 'disconnect', 'offence', 'taken over', 'disconnect, then an offence'];

/** A client with a will ends in one of five ways; its will is published once, or not at all. */
export async function willCase(target: PlainTarget, number: number, chance: Chance): Promise<void> {
  const base = `will${number}`;
  const clientId = `${base}-c`;
  const topic = chance.oneIn(4)
    ? chance.pick([`fp/1/${target.network}/d/x/state`, 'fp', '$SYS/x', '$share/g/t', 'fp/x'])
    : `${base}/w`;
  const qos = chance.int(3) as 0 | 1 | 2;
  const will = { topic, payload: Buffer.from('gone'), qos, retain: chance.oneIn(2) };
  const observer = await new FuzzClient(target).enter({ clientId: `${base}-o` });
  observer.send({
    ...{ cmd: 'subscribe', messageId: 1 },
    subscriptions: [`${base}/#`, 'fp/#'].map((each) => ({ topic: each, qos: 2 as const })),
  });
  await observer.ping();
  observer.take();
  const client = new FuzzClient(target);
  const answer = await client.connect({ clientId, clean: chance.oneIn(2), will });
  if (isReserved(topic)) {
    if (answer !== '5 false') throw new Finding(`will to ${topic}: expected 5, got ${answer}`);
    observer.wire.close();
    return;
  }
  if (answer !== '0 false') throw new Finding(`will to ${topic}: expected 0, got ${answer}`);
  const way = chance.pick(WAYS);
  if (way === 'vanish') client.wire.close();
  if (way.startsWith('disconnect')) client.send({ cmd: 'disconnect' });
  if (way.endsWith('offence')) client.wire.send(Buffer.of(0xf0, 0));
  if (way !== 'taken over') await client.wire.until(() => false, `the end after ${way}`);
  // Whoever comes with its id takes its place, if the broker has not seen the end yet.
  await endSession(target, clientId);
  await observer.settle();
  const wanted = way.startsWith('disconnect') ? 0 : 1;
  const wills = observer.take().filter((packet) => packet.topic === topic);
  if (wills.length !== wanted || wills.some((each) => each.qos !== qos || each.retain)) {
    throw new Finding(`will, ${way}: expected ${wanted}, got ${JSON.stringify(wills)}`);
  }
  observer.send({ cmd: 'publish', topic, payload: '', qos: 0, retain: true, dup: false });
  await observer.ping();
  observer.wire.close();
}

/** Several clients with the same id at once: the last one stays, the session is one. */
export async function takeOverCase(
  target: PlainTarget,
  number: number,
  chance: Chance,
): Promise<void> {
  const clientId = `${chance.pick(['over', 'é日本', 'x'.repeat(2000), '#', '../..'])}${number}`;
  const clients: FuzzClient[] = [];
  for (let i = 0; i < 2 + chance.int(4); i++) {
    const client = new FuzzClient(target);
    client.send(connectOf({ clientId, clean: chance.oneIn(2) }));
    clients.push(client);
    const { wire } = client;
    if (chance.oneIn(2)) await wire.until(() => client.count('connack') > 0, 'CONNECT');
  }
  for (const { wire } of clients) await wire.until(() => wire.packets.length > 0, 'CONNECT');
  let open = 0;
  for (const client of clients) {
    client.send({ cmd: 'pingreq' });
    await client.wire.until(() => client.count('pingresp') > 0, 'PINGREQ');
    if (!client.wire.isClosed) open += 1;
  }
  if (open !== 1) throw new Finding(`${clients.length} of one client id: ${open} are open`);
  for (const { wire } of clients) wire.close();
  await endSession(target, clientId);
}
