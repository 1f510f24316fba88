/** A way to a broker that can be cut. */
import { createServer, connect as open, type Server, type Socket } from 'node:net';

export class BrokerProxy implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cut = false;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** To a port of 127.0.0.1. */
  static async to(port: number): Promise<BrokerProxy> {
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const proxy = new BrokerProxy(server, (server.address() as { port: number }).port);
    server.on('connection', (near) => proxy.#join(near, port));
    return proxy;
  }

  /** Nothing goes through any more, in either direction, and nobody is told. */
  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  /** Whoever is connected is disconnected, what was on its way is lost; new connections go through. */
  heal(): void {
    this.#cut = false;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #join(near: Socket, port: number): void {
    this.#watch(near);
    if (this.#cut) return;
    const far = open({ host: '127.0.0.1', port, noDelay: true });
    this.#watch(far);
    near.setNoDelay(true);
    near.pipe(far);
    far.pipe(near);
    near.once('close', () => far.destroy());
    far.once('close', () => near.destroy());
  }

  #watch(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(socket));
  }
}
