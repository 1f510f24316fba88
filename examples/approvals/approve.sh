#!/bin/sh
# Answers a gate over HTTPS: approve.sh MIGRATION GATE BY [approve|reject]
# Wants LISTENER (https://host:port), SENDER (its name in clusters.yaml), SENDER_SECRET and ANSWER_ID (one id is one decision).
set -eu
body=$(printf '{"id":"%s","migration":"%s","message":"%s","gate":"%s","by":"%s"}' "$ANSWER_ID" "$1" "${4:-approve}" "$2" "$3")
timestamp=$(date +%s)
signature=$(printf '%s.%s' "$timestamp" "$body" | openssl dgst -sha256 -hmac "$SENDER_SECRET" -r | cut -d' ' -f1)
curl --silent --show-error --fail-with-body --retry 3 "$LISTENER/v1/answers" \
  -H 'content-type: application/json' \
  -H "Kafka-Cutover-Sender: $SENDER" \
  -H "Kafka-Cutover-Timestamp: $timestamp" \
  -H "Kafka-Cutover-Signature: v1=$signature" \
  -d "$body"
