import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes logs through Apache's own producers, as told: one JSON command a line on standard input, one JSON answer a line on
 * standard output, one after the other. Lives as long as its input, so that many small logs cost one JVM. Run from source by
 * `java -cp <kafka jars> WriteLog.java client.properties` (a JDK, no build).
 *
 * Commands (each with an `id`, which its answer repeats; `error` stands in the answer of one that failed):
 *   send           producer, topic, partition, records, begin: sends all, then flushes; `begin` opens a transaction first
 *   commit, abort  producer
 *   deleteRecords  topic, partition, before
 *   forget         closes every producer; transactions that are open stay so until their timeout or a successor's first word
 *
 * A producer is { name, kind: plain | idempotent | transactional, codec, lingerMs, batchBytes }; it is made at first use and kept. A
 * record is { k: base64 | null, v: { seed, size, noise } | null, t?: milliseconds, h?: [[name, base64 | null]] }.
 */
public class WriteLog {
    private static final ObjectMapper json = new ObjectMapper();
    private static final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private static final Properties common = new Properties();
    private static Admin admin;

    public static void main(String[] args) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err); // loggers without a configuration write there
        try (FileInputStream file = new FileInputStream(args[0])) {
            common.load(file);
        }
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            JsonNode command = json.readTree(line);
            ObjectNode answer = json.createObjectNode();
            answer.put("id", command.get("id").asLong());
            try {
                run(command, answer);
            } catch (Exception error) {
                Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
                answer.put("error", cause.toString());
                // One that failed may not be used again where it is transactional; a successor of its name ends what it left.
                if (command.has("producer")) drop(command.get("producer"));
            }
            answers.println(json.writeValueAsString(answer));
        }
        System.exit(0); // producers with open transactions would wait in close()
    }

    private static void run(JsonNode command, ObjectNode answer) throws Exception {
        switch (command.get("do").asText()) {
            case "send":
                send(command, answer);
                break;
            case "commit":
                producer(command.get("producer")).commitTransaction();
                break;
            case "abort":
                producer(command.get("producer")).abortTransaction();
                break;
            case "deleteRecords":
                TopicPartition partition = new TopicPartition(command.get("topic").asText(), command.get("partition").asInt());
                if (admin == null) admin = Admin.create(common);
                admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(command.get("before").asLong()))).all().get();
                break;
            case "forget":
                for (KafkaProducer<byte[], byte[]> producer : producers.values()) producer.close(Duration.ZERO);
                producers.clear();
                break;
            default:
                throw new IllegalArgumentException("unknown command " + command.get("do"));
        }
    }

    private static void send(JsonNode command, ObjectNode answer) throws Exception {
        KafkaProducer<byte[], byte[]> producer = producer(command.get("producer"));
        if (command.path("begin").asBoolean()) producer.beginTransaction();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode record : command.get("records")) {
            Long timestamp = record.hasNonNull("t") ? record.get("t").asLong() : null;
            ProducerRecord<byte[], byte[]> made = new ProducerRecord<>(command.get("topic").asText(),
                    command.get("partition").asInt(), timestamp, bytes(record.get("k")), value(record.get("v")));
            for (JsonNode header : record.path("h")) made.headers().add(header.get(0).asText(), bytes(header.get(1)));
            sent.add(producer.send(made));
        }
        producer.flush();
        ArrayNode offsets = answer.putArray("offsets");
        for (Future<RecordMetadata> one : sent) offsets.add(one.get().offset());
    }

    private static KafkaProducer<byte[], byte[]> producer(JsonNode wanted) {
        String key = wanted.toString();
        KafkaProducer<byte[], byte[]> known = producers.get(key);
        if (known != null) return known;
        Properties properties = new Properties();
        properties.putAll(common);
        String kind = wanted.get("kind").asText();
        properties.put("acks", "all");
        properties.put("enable.idempotence", String.valueOf(!kind.equals("plain")));
        properties.put("compression.type", wanted.path("codec").asText("none"));
        properties.put("linger.ms", wanted.path("lingerMs").asText("0"));
        properties.put("batch.size", wanted.path("batchBytes").asText("16384"));
        properties.put("buffer.memory", "33554432");
        properties.put("max.request.size", "20000000");
        if (kind.equals("transactional")) {
            properties.put("transactional.id", wanted.get("name").asText());
            properties.put("transaction.timeout.ms", "900000"); // a broker's default limit: left open means open
        }
        ByteArraySerializer bytes = new ByteArraySerializer();
        KafkaProducer<byte[], byte[]> made = new KafkaProducer<>(properties, bytes, bytes);
        if (kind.equals("transactional")) made.initTransactions();
        producers.put(key, made);
        return made;
    }

    private static void drop(JsonNode wanted) {
        KafkaProducer<byte[], byte[]> known = producers.remove(wanted.toString());
        if (known != null) known.close(Duration.ZERO);
    }

    private static byte[] bytes(JsonNode base64) {
        return base64 == null || base64.isNull() ? null : Base64.getDecoder().decode(base64.asText());
    }

    /** Text that compresses, or noise that does not. */
    private static byte[] value(JsonNode wanted) {
        if (wanted == null || wanted.isNull()) return null;
        byte[] value = new byte[wanted.get("size").asInt()];
        Random random = new Random(wanted.get("seed").asLong());
        if (wanted.path("noise").asBoolean()) {
            random.nextBytes(value);
        } else {
            for (int i = 0; i < value.length; i++) value[i] = (byte) ('a' + (i % 64 == 0 ? random.nextInt(26) : i % 7));
        }
        return value;
    }
}
