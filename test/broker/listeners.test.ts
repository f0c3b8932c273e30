/** Listeners where the system has nothing left for one more connection. */

import { createServer } from 'node:net';
import { closeListener, keepListening, listen } from '@fieldproof/broker/listeners';
import { expect, test } from '@jest/globals';

test('a connection that cannot be accepted ends nothing, and is told at most every ten seconds', async () => {
  const server = createServer();
  await listen(server, '127.0.0.1', 0);
  let now = 0;
  const told: unknown[] = [];
  keepListening(
    server,
    ({ message }, times) => told.push([message, times]),
    () => now,
  );
  for (; now < 21_000; now += 1000) server.emit('error', new Error('accept EMFILE'));
  await closeListener(server);
  expect(told).toEqual([
    ['accept EMFILE', 1],
    ['accept EMFILE', 10],
    ['accept EMFILE', 10],
  ]);
});
