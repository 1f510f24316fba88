/** Secrets stand elsewhere; and what is said of files and systems that hold them holds none. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { exchange } from '../../kafka/http.ts';
import { httpUrl, parseYamlOfSecrets } from '../../kafka/references.ts';

describe('a file that may hold a secret by mistake', () => {
  it('is refused by the place of what is wrong, without its text and without a warning of the parser', (t) => {
    const warned = t.mock.method(process, 'emitWarning', () => {});
    for (const text of ['password: *planted', 'a: @planted', 'a: 1\nplanted', 'a: "planted', 'a: 1\na: planted']) {
      assert.throws(
        () => parseYamlOfSecrets(text),
        ({ message }: Error) => /no YAML/.test(message) && !/planted/.test(message),
        text,
      );
    }
    assert.deepEqual(parseYamlOfSecrets('a: !planted b'), { a: 'b' });
    assert.equal(warned.mock.callCount(), 0);
  });

  it('names no login in an address', () => {
    const address = httpUrl('name it beside');
    assert.equal(address.parse('https://host/path'), 'https://host/path');
    const { error } = address.safeParse('https://ana:planted@host/');
    assert.match(error?.message ?? '', /a URL without a user in it: name it beside/);
    assert.doesNotMatch(error?.message ?? '', /planted/);
  });
});

describe('a system that refuses and repeats what it was sent', () => {
  it('is quoted without the login, as it was sent and decoded; an answer is left as it is', async () => {
    let status = 400;
    await using server = createServer((request, response) => {
      const { authorization = '' } = request.headers;
      const decoded = Buffer.from(authorization.split(' ')[1] ?? '', 'base64').toString();
      response.writeHead(status).end(`no: ${JSON.stringify({ authorization, decoded })}`);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    const ask = (authorization: string) =>
      exchange(url, { method: 'GET', headers: { authorization }, timeoutMs: 10_000, bytesMax: 10_000 });
    const basic = `Basic ${Buffer.from('ana:planted "quoted"').toString('base64')}`;
    assert.equal((await ask(basic)).text, 'no: {"authorization":"Basic ***","decoded":"ana:***"}');
    assert.match((await ask('Bearer planted')).text, /"authorization":"Bearer \*\*\*"/);
    status = 200;
    assert.match((await ask(basic)).text, /planted/);
  });
});
