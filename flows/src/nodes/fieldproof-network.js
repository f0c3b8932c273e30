// What Node-RED loads; it finds the editor's part, the .html file, by this name. It loads this file with `require`,
// and waits for the promise: imported, the node shares every module with the rest of the process.
export default async function register(RED) {
  const node = await import('./fieldproof-network.ts');
  return node.default(RED);
}
