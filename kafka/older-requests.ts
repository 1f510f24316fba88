/**
 * The requests that the code makes in one version, in those that older brokers serve: down to Kafka 2.5, where positions of open transactions
 * can first be told (OffsetFetch v7, KIP-447). Answers have the newer version's shape. What older brokers do not know is left at the value
 * that stands for "not known": topic ids are zeros before 2.8.
 *
 * Requests that are not named here are served by all brokers from 2.5 to 4.3, or have no older form: then `VERSION_UNSUPPORTED` says so.
 */
import {
  type API,
  alterClientQuotasV0,
  alterClientQuotasV1,
  type Connection,
  createPartitionsV2,
  createPartitionsV3,
  createTopicsV5,
  createTopicsV6,
  createTopicsV7,
  deleteRecordsV1,
  deleteRecordsV2,
  deleteTopicsV4,
  deleteTopicsV6,
  describeClientQuotasV0,
  describeClientQuotasV1,
  describeConfigsV2,
  describeConfigsV3,
  describeConfigsV4,
  describeLogDirsV1,
  describeLogDirsV2,
  findCoordinatorV3,
  findCoordinatorV4,
  initProducerIdV3,
  initProducerIdV4,
  listGroupsV3,
  listGroupsV4,
  listOffsetsV5,
  listOffsetsV6,
  listOffsetsV7,
  metadataV9,
  metadataV11,
  metadataV12,
  offsetFetchV7,
  offsetFetchV8,
  offsetForLeaderEpochV3,
  offsetForLeaderEpochV4,
} from '@platformatic/kafka';
import { answerOf } from './answers.ts';
import { noTopicId } from './topic-ids.ts';
import { rawFetch, rawFetchV11, rawProduce, rawProduceV8 } from './wire.ts';

/** A request at one version. */
export type Request<Args extends unknown[], Answer> = Pick<API<Args, Answer>, 'key' | 'version' | 'async'>;

type AnyRequest = Request<never[], unknown>;

const metadataWithoutIds: typeof metadataV12.api.async = async (connection, topics, create, rights) => {
  const answer = await answerOf(metadataV9.api.async(connection, topics, create, rights, false));
  return { ...answer, topics: answer.topics.map((topic) => ({ ...topic, topicId: noTopicId })) };
};

/** One key a request. */
const coordinatorsOneByOne: typeof findCoordinatorV4.api.async = async (connection, keyType, keys) => {
  const answers = await Promise.all(
    keys.map(async (key) => ({ key, answer: await answerOf(findCoordinatorV3.api.async(connection, keyType, [key])) })),
  );
  return {
    throttleTimeMs: 0,
    coordinators: answers.flatMap(({ key, answer }) => answer.coordinators.map((found) => ({ ...found, key }))),
  };
};

/** One group a request. */
const positionsOneByOne: typeof offsetFetchV8.api.async = async (connection, groups, requireStable) => {
  const answers = await Promise.all(
    groups.map(async (group) => ({
      groupId: group.groupId,
      answer: await answerOf(offsetFetchV7.api.async(connection, [group], requireStable)),
    })),
  );
  return {
    throttleTimeMs: 0,
    groups: answers.map(({ groupId, answer: { topics = [], errorCode = 0 } }) => ({ groupId, topics, errorCode })),
  };
};

/** Newest first. */
const older = new Map<AnyRequest, readonly AnyRequest[]>([
  entry(rawProduce, rawProduceV8),
  entry(rawFetch, rawFetchV11),
  entry(listOffsetsV7.api, listOffsetsV6.api, listOffsetsV5.api),
  entry(metadataV12.api, metadataV11.api, { key: 3, version: 9, async: metadataWithoutIds }),
  entry(offsetFetchV8.api, { key: 9, version: 7, async: positionsOneByOne }),
  entry(findCoordinatorV4.api, { key: 10, version: 3, async: coordinatorsOneByOne }),
  entry(listGroupsV4.api, listGroupsV3.api),
  entry(createTopicsV7.api, createTopicsV6.api, createTopicsV5.api),
  entry(deleteTopicsV6.api, deleteTopicsV4.api),
  entry(deleteRecordsV2.api, deleteRecordsV1.api),
  entry(initProducerIdV4.api, initProducerIdV3.api),
  entry(offsetForLeaderEpochV4.api, offsetForLeaderEpochV3.api),
  entry(describeConfigsV4.api, describeConfigsV3.api, describeConfigsV2.api),
  entry(describeLogDirsV2.api, describeLogDirsV1.api),
  entry(createPartitionsV3.api, createPartitionsV2.api),
  entry(describeClientQuotasV1.api, describeClientQuotasV0.api),
  entry(alterClientQuotasV1.api, alterClientQuotasV0.api),
]);

function entry<Args extends unknown[], Answer>(
  request: Request<Args, Answer>,
  ...olderOnes: { key: number; version: number; async: (connection: Connection, ...args: Args) => Promise<unknown> }[]
): [AnyRequest, AnyRequest[]] {
  return [request as unknown as AnyRequest, olderOnes as unknown as AnyRequest[]];
}

/** The same request at the newest version up to `max`; null where there is none. */
export function requestUpTo<Args extends unknown[], Answer>(
  request: Request<Args, Answer>,
  max: number,
): Request<Args, Answer> | null {
  if (request.version <= max) return request;
  const found = older.get(request as unknown as AnyRequest)?.find(({ version }) => version <= max);
  return (found as Request<Args, Answer> | undefined) ?? null;
}
