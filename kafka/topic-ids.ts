/** In place of a topic's id where brokers have none: before Kafka 2.8 (KIP-516). */
export const noTopicId = '00000000-0000-0000-0000-000000000000';
