/** What a rebuild asks of an InfluxDB 1.x database as a whole. */
import { InfluxConnection } from '../store/influx-connection.ts';
import { quoteIdentifier } from '../store/influxql.ts';

export interface InfluxDatabase {
  /** `http://[user:password@]host:port`. */
  readonly url: string;
  readonly database: string;
}

/**
 * The measurements of a database; none for one that does not exist.
 *
 * @throws {AnalyticsError} ERR_STORE_UNAVAILABLE, ERR_STORE_AUTH.
 */
export async function measurementsOf({ url, database }: InfluxDatabase): Promise<string[]> {
  const connection = new InfluxConnection({ url, database });
  const [databases = []] = await connection.query(['SHOW DATABASES']);
  if (!databases.some(({ values }) => values.some(([name]) => name === database))) return [];
  const [answer = []] = await connection.query(['SHOW MEASUREMENTS']);
  return answer.flatMap(({ values }) => values.map(([name]) => String(name)));
}

/**
 * Drops a database with everything in it.
 *
 * @throws {AnalyticsError} ERR_STORE_UNAVAILABLE, ERR_STORE_AUTH.
 */
export async function dropDatabase({ url, database }: InfluxDatabase): Promise<void> {
  const connection = new InfluxConnection({ url, database });
  await connection.query([`DROP DATABASE ${quoteIdentifier(database)}`]);
}
