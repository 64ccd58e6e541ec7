// Writes who called whom, innermost first, and waits.
const fs = require('fs');

function inner() {
  for (const line of new Error().stack.split('\n').slice(2)) {
    const m = /at (?:\w+\.)?(\w+) \(.*deep\.js:(\d+):/.exec(line);
    if (m) console.log('frame', m[1], m[2]);
  }
  fs.writeSync(1, 'ready\n');
  fs.readSync(0, Buffer.alloc(1));
}

function middle(n) {
  inner();
}

class Other {
  outer(depth) {
    if (depth > 0) return this.outer(depth - 1);
    middle(depth);
  }
}

new Other().outer(3);
