#!/bin/bash
# Starts the one broker of a cluster in docker-compose.yml, formatting its data folder with the SCRAM users
# the first time. The settings follow stack/cluster.ts.
set -euo pipefail
umask 077
data=/var/lib/kafka/data/kafka
export KAFKA_HEAP_OPTS=-Xmx512m

plain="org.apache.kafka.common.security.plain.PlainLoginModule required username=\"broker\" password=\"$BROKER_PASSWORD\" user_broker=\"$BROKER_PASSWORD\";"
scram="org.apache.kafka.common.security.scram.ScramLoginModule required;"

cat > /tmp/server.properties <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9094
listeners=CLIENT://:9092,HOST://:${ADVERTISED_ON_HOST##*:},BROKER://localhost:9093,CONTROLLER://localhost:9094
advertised.listeners=CLIENT://$HOSTNAME:9092,HOST://$ADVERTISED_ON_HOST,BROKER://localhost:9093
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,HOST:SASL_PLAINTEXT,BROKER:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256
listener.name.client.scram-sha-512.sasl.jaas.config=$scram
listener.name.client.scram-sha-256.sasl.jaas.config=$scram
listener.name.host.sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256
listener.name.host.scram-sha-512.sasl.jaas.config=$scram
listener.name.host.scram-sha-256.sasl.jaas.config=$scram
listener.name.broker.sasl.enabled.mechanisms=PLAIN
listener.name.broker.plain.sasl.jaas.config=$plain
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config=$plain
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:broker;User:cutover
allow.everyone.if.no.acl.found=false
log.dirs=$data
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES

cat > /tmp/cutover.properties <<PROPERTIES
security.protocol=SASL_PLAINTEXT
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="$CUTOVER_USERNAME" password="$CUTOVER_PASSWORD";
PROPERTIES

users=()
add_user() {
  users+=(--add-scram "SCRAM-SHA-512=[name=$1,iterations=4096,password=$2]")
  users+=(--add-scram "SCRAM-SHA-256=[name=$1,iterations=4096,password=$2]")
}
add_user "$CUTOVER_USERNAME" "$CUTOVER_PASSWORD"
add_user "$FORWARD_USERNAME" "$FORWARD_PASSWORD"
add_user "$REVERSE_USERNAME" "$REVERSE_PASSWORD"
for user in app-writer-1 app-writer-2 app-reader-1 app-reader-2; do add_user "$user" "$APP_PASSWORD"; done

# Keeps what is there when the container is started again.
/opt/kafka/bin/kafka-storage.sh format --ignore-formatted -t "$CLUSTER_ID" -c /tmp/server.properties "${users[@]}"
exec /opt/kafka/bin/kafka-server-start.sh /tmp/server.properties
