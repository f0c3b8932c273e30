// What Node-RED loads; it finds the editor's part, the .html file, by this name.
export { default } from './fieldproof-telemetry.ts';
