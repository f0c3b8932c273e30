/** What every route group of the control server is given. A group is a function of this to a plugin. */
import type { FastifyPluginAsync } from 'fastify';
import type { Logger } from 'pino';
import type { TimeSeriesStore } from '../store/time-series-store.ts';
import type { RequireScope } from './auth.ts';
import type { DeviceViews } from './device-view.ts';
import type { BrokerStatus, ProjectionStatusProvider } from './providers.ts';
import type { TokenStore } from './tokens.ts';

export interface ControlContext {
  readonly store: TimeSeriesStore;
  readonly storeKind: StoreKind;
  readonly tokens: TokenStore;
  /** Makes the `onRequest` hook of a route. */
  readonly requireScope: RequireScope;
  readonly views: DeviceViews;
  readonly brokerStatus: BrokerStatus;
  readonly projection: ProjectionStatusProvider;
  /** Unix ms. */
  readonly clock: () => number;
  readonly log: Logger;
  /** The network's id, null while unknown. */
  readonly network: () => string | null;
  /** Of this package. */
  readonly version: string;
}

export type StoreKind = 'duckdb' | 'influxdb' | 'memory';

export type RouteGroup = (context: ControlContext) => FastifyPluginAsync;
