import { register } from 'tsx/esm/api';

register();
await import('./verify-worker.ts');
