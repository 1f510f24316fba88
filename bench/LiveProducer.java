import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Produces at an even rate with the client's own defaults. Arguments: a client.properties a cluster. A line of input is
 * `cluster topic partitions recordsPerSecond valueBytes seconds`, answered with `done` once everything is acknowledged.
 */
public class LiveProducer {
    public static void main(String[] args) throws Exception {
        ByteArraySerializer bytes = new ByteArraySerializer();
        KafkaProducer<?, ?>[] producers = Arrays.stream(args).map(path -> {
            Properties properties = new Properties();
            try (FileInputStream in = new FileInputStream(path)) {
                properties.load(in);
            } catch (Exception error) {
                throw new RuntimeException(error);
            }
            return new KafkaProducer<>(properties, bytes, bytes);
        }).toArray(KafkaProducer<?, ?>[]::new);
        Random random = new Random(1);
        AtomicReference<Exception> failure = new AtomicReference<>();
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.trim().split(" ");
            @SuppressWarnings("unchecked")
            KafkaProducer<byte[], byte[]> producer = (KafkaProducer<byte[], byte[]>) producers[Integer.parseInt(words[0])];
            int partitions = Integer.parseInt(words[2]);
            double perNano = Double.parseDouble(words[3]) / 1e9;
            int valueBytes = Integer.parseInt(words[4]);
            double seconds = Double.parseDouble(words[5]);
            long start = System.nanoTime();
            long end = start + (long) (seconds * 1e9);
            long sent = 0;
            for (long now = start; now < end; now = System.nanoTime()) {
                for (long due = (long) ((now - start) * perNano); sent < due; sent++) {
                    byte[] value = new byte[valueBytes];
                    random.nextBytes(value);
                    producer.send(new ProducerRecord<>(words[1], (int) (sent % partitions), null, value), (done, error) -> {
                        if (error != null) failure.set(error);
                    });
                }
                Thread.sleep(1);
            }
            producer.flush();
            if (failure.get() != null) throw failure.get();
            System.out.println("done " + sent);
        }
        for (KafkaProducer<?, ?> producer : producers) producer.close();
    }
}
