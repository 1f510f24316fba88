/**
 * A long way to a broker: `node far-process.ts LISTEN BROKER DELAY_MS`, both ports of 127.0.0.1, hands everything on and back, each byte DELAY_MS
 * later than it came. Each connection has a way of its own, as wide as the machine makes it: what TCP's windows make of a long way is not in it.
 * Says `open` once.
 */
import { connect, createServer, type Socket } from 'node:net';

const [listen = 0, broker = 0, delayMs = 0] = process.argv.slice(2).map(Number);

/** More than this on its way at once, and the sender waits: 640 MB/s at 100 ms. */
const underWayMax = 64 << 20;

const server = createServer({ noDelay: true }, (near) => {
  const far = connect({ host: '127.0.0.1', port: broker, noDelay: true });
  carry(near, far);
  carry(far, near);
});
server.listen(listen, '127.0.0.1', () => process.stdout.write('open\n'));

function carry(from: Socket, to: Socket): void {
  let underWay = 0;
  from.on('error', () => to.destroy());
  from.on('data', (bytes) => {
    underWay += bytes.length;
    if (underWay > underWayMax) from.pause();
    // Timers of the same length fire in the order in which they were set.
    setTimeout(() => {
      underWay -= bytes.length;
      if (underWay <= underWayMax) from.resume();
      if (to.writable) to.write(bytes);
    }, delayMs);
  });
  from.on('close', () => setTimeout(() => to.destroy(), delayMs));
}
