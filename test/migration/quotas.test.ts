import assert from 'node:assert/strict';
import { test } from 'node:test';
import { carriedQuotas, missingQuotas, quotasLeftOut } from '../../migration/quotas.ts';

const rate = (producer_byte_rate: number) => ({ producer_byte_rate });

test('carries quotas of users with rights, with their client ids, under their mapped names', () => {
  const quotas = [
    { entity: { user: 'a' }, values: rate(1) },
    { entity: { user: 'a', clientId: null }, values: rate(2) },
    { entity: { user: 'b', clientId: 'c' }, values: rate(3) },
    { entity: { user: 'stranger' }, values: rate(4) },
    { entity: { user: null }, values: rate(5) },
    { entity: { clientId: 'c' }, values: rate(6) },
  ];
  const plan = { principals: [{ source: 'User:a', target: 'User:A' }] };
  assert.deepEqual(carriedQuotas(quotas, new Set(['User:a', 'User:b']), plan), [
    { entity: { user: 'A' }, values: rate(1) },
    { entity: { user: 'A', clientId: null }, values: rate(2) },
    { entity: { user: 'b', clientId: 'c' }, values: rate(3) },
  ]);
});

test('names defaults and client ids whose quota differs, and no others', () => {
  const source = [
    { entity: { user: null }, values: rate(5) },
    { entity: { clientId: 'same' }, values: rate(6) },
    { entity: { user: 'a' }, values: rate(1) },
  ];
  const target = [
    { entity: { clientId: 'same' }, values: rate(6) },
    { entity: { ip: '10.0.0.1' }, values: { connection_creation_rate: 1 } },
  ];
  assert.deepEqual(quotasLeftOut(source, target), [
    'ip "10.0.0.1": connection_creation_rate not set / 1 (source / target)',
    'user default: producer_byte_rate 5 / not set (source / target)',
  ]);
  // Where no rule says who writes, a user's quota may be about anybody that is not known to move.
  assert.deepEqual(quotasLeftOut(source, source.slice(0, 2), new Set(['User:b'])), [
    'user "a": producer_byte_rate 1 / not set (source / target)',
  ]);
  assert.deepEqual(quotasLeftOut(source, source.slice(0, 2), new Set(['User:a'])), []);
});

test('only what the target lacks is changed', () => {
  const wanted = [
    { entity: { user: 'a' }, values: rate(1) },
    { entity: { user: 'b' }, values: rate(2) },
  ];
  const change = missingQuotas(wanted, [{ entity: { user: 'a' }, values: { ...rate(1), request_percentage: 5 } }]);
  assert.deepEqual(change, {
    kind: 'alter-quotas',
    cluster: 'target',
    quotas: [{ entity: { user: 'b' }, set: rate(2), unset: [] }],
  });
  assert.equal(missingQuotas([], []), null);
});
