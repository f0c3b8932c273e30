/**
 * Registers, coils and inputs of a Modbus TCP device: meters, inverters, heat pumps, PLCs.
 *
 * Reads only (functions 1 to 4). Leaves out writing, Modbus RTU, and joining neighbouring registers to one request:
 * devices answer for undefined registers in between with an exception.
 */

import { AgentError, reasonOf } from '../errors.ts';
import { integer, list, numberAbove, oneOf, section, text } from '../schema.ts';
import { anyNumber, METRIC_KEYS, type MetricKeys, metricSpec } from './metric-keys.ts';
import { ModbusClient } from './modbus-client.ts';
import {
  decodeValue,
  isBitFunction,
  ModbusException,
  REGISTER_TYPES,
  type RegisterType,
  registersOf,
} from './modbus-frame.ts';
import type { Reading, SensorDriver, Value } from './sensor.ts';

const TABLES = { coil: 1, discrete: 2, holding: 3, input: 4 } as const;
const TABLE_NAMES = ['holding', 'input', 'coil', 'discrete'] as const;

interface ModbusMetric extends MetricKeys {
  readonly table: (typeof TABLE_NAMES)[number];
  readonly address: number;
  readonly type: RegisterType;
  readonly wordOrder: 'big' | 'little';
  readonly byteOrder: 'big' | 'little';
  readonly unitId: number;
  readonly scale: number;
  readonly offset?: number | undefined;
}

interface ModbusOptions {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  readonly metrics: readonly ModbusMetric[];
}

export const modbusTcpDriver: SensorDriver<ModbusOptions> = {
  source: 'sensor',
  options: (value, path, problems) => {
    const options = section<ModbusOptions>({
      host: text({ pattern: /^[^\s/@?#]{1,253}$/, is: 'a host name or address', byDefault: null }),
      port: integer({ min: 1, max: 65_535, byDefault: 502 }),
      timeoutMs: integer({ min: 100, max: 29_000, byDefault: 3000 }),
      metrics: list(
        section<ModbusMetric>({
          ...METRIC_KEYS,
          table: oneOf(TABLE_NAMES, 'holding'),
          address: integer({ min: 0, max: 65_535, byDefault: null }),
          type: oneOf(REGISTER_TYPES, 'uint16'),
          wordOrder: oneOf(['big', 'little'], 'big'),
          byteOrder: oneOf(['big', 'little'], 'big'),
          unitId: integer({ min: 0, max: 255, byDefault: 1 }),
          scale: numberAbove(Number.NEGATIVE_INFINITY, 1),
          offset: anyNumber,
        }),
        { min: 1, max: 256 },
      ),
    })(value, path, problems);
    for (const [at, { address, type, table }] of options.metrics.entries()) {
      const where = `${path}.metrics[${at}].address`;
      const last = address + (isBitFunction(TABLES[table]) ? 1 : registersOf(type)) - 1;
      if (last > 65_535) problems.push(`${where}: expected ${type} to end at 65535, got ${last}`);
    }
    return options;
  },
  async create({ options, clock, reject }) {
    const { host, port, timeoutMs } = options;
    return {
      kind: 'pull',
      source: 'sensor',
      metrics: options.metrics.map(metricSpec),
      async read(signal) {
        const readings: Reading[] = [];
        let reason: unknown;
        // A connection for each round: devices take few, and forget them without saying so.
        const client = new ModbusClient({ host, port, timeoutMs, clock, signal });
        try {
          await client.open();
          for (const keys of options.metrics) {
            try {
              const data = await client.read({
                unitId: keys.unitId,
                functionCode: TABLES[keys.table],
                address: keys.address,
                count: isBitFunction(TABLES[keys.table]) ? 1 : registersOf(keys.type),
              });
              const found = valueIn(data, keys);
              if (found !== undefined) readings.push({ metric: keys.metric, value: found });
              else reject('not-a-number', `${keys.metric}: a register that holds no number`);
            } catch (error) {
              reason ??= error;
              // Only an exception leaves the connection in step; the device has the other registers all the same.
              if (!(error instanceof ModbusException)) throw error;
              reject('fault', `${keys.metric}: ${error.message}`);
            }
          }
        } catch (error) {
          // A connection that breaks costs what was not asked yet.
          reason ??= error;
        } finally {
          client.close();
        }
        if (readings.length > 0) return readings;
        throw new AgentError(
          'ERR_AGENT_SENSOR',
          `${host}:${port}: ${reason === undefined ? 'no register holds a number' : reasonOf(reason)}`,
        );
      },
    };
  },
};

function valueIn(data: Uint8Array, keys: ModbusMetric): Value | undefined {
  if (isBitFunction(TABLES[keys.table])) return (data[0]! & 1) === 1;
  const number = decodeValue(data, keys);
  return Number.isFinite(number) ? number * keys.scale + (keys.offset ?? 0) : undefined;
}
