/**
 * A process whose files may not grow beyond a limit (`ulimit -f`) writes until the embedded store
 * cannot, lifts the limit and goes on; prints what happened as JSON. Arguments: the folder.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { DuckdbStore } from '@fieldproof/analytics/store/duckdb-store';

const LINES = 4000;
const store = new DuckdbStore({ dataDir: process.argv[2]! });
await store.open();
const errors: unknown[] = [];
let stored = 0;
let again = 0;
while (again < 3 && stored < 100) {
  const lines = Array.from({ length: LINES }, (_, i) => {
    const text = randomBytes(150).toString('base64');
    return `air,device=d v=1,text="${text}" ${stored * LINES + i}`;
  });
  try {
    await store.writeLines(Buffer.from(lines.join('\n')), { precision: 'ms' });
    stored++;
    if (errors.length > 0) again++;
  } catch (error) {
    const { code, transient } = error as { code: string; transient: boolean };
    errors.push([code, transient]);
    // The second failure shows what the store does once DuckDB has given up.
    if (errors.length === 2) {
      execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited']);
    }
    if (errors.length > 5) break;
  }
}
const [device] = await store.devices();
await store.close();
console.log(JSON.stringify({ errors, again, missing: stored * LINES * 2 - device!.count }));
