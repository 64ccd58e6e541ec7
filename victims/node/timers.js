// An event loop with timers, and a worker thread blocked in Atomics.wait.
const { Worker } = require('worker_threads');

const shared = new SharedArrayBuffer(8);
const worker = new Worker(
  `const { workerData, parentPort } = require('worker_threads');
   const cells = new Int32Array(workerData);
   function inner() { parentPort.postMessage('blocked'); Atomics.wait(cells, 0, 0); }
   function outer() { inner(); }
   outer();`,
  { eval: true, workerData: shared });
worker.on('message', () => setTimeout(() => console.log('ready workers=1'), 300));
setInterval(() => {}, 1 << 30);
process.stdin.on('data', () => console.log('alive'));
process.stdin.on('end', () => process.exit(0));
