/**
 * A process that writes into an embedded store for ever and says what is durable; killed by a test.
 * Arguments: the folder.
 */
import { DuckdbStore } from '@fieldproof/analytics/store/duckdb-store';

const store = new DuckdbStore({ dataDir: process.argv[2]! });
await store.open();
for (let round = 0; ; round++) {
  const lines = Array.from({ length: 500 }, (_, i) => {
    const time = round * 500 + i;
    return `air,device=d${i % 5} v=${time},n${round % 20}=${i} ${time}`;
  });
  await store.writeLines(Buffer.from(lines.join('\n')), { precision: 'ms' });
  process.stdout.write(`${round}\n`);
}
