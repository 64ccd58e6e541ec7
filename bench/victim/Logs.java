import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Logs by java.util.logging, as servers do, for those who watch it. It answers as
 * actor.c does: "log MS" logs for so long.
 */
public class Logs {
	public static void main(String[] args) throws Exception {
		System.setProperty("java.util.logging.SimpleFormatter.format", "%1$tFT%1$tT.%1$tLZ %4$s %3$s: %5$s%n");
		Logger log = Logger.getLogger("shop.item");
		var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
		var in = new BufferedReader(new InputStreamReader(System.in));
		System.out.println("ready");
		for (String line; (line = in.readLine()) != null; ) {
			String[] words = line.split(" ");
			long ms = Long.parseLong(words[1]), n = 0, start = System.nanoTime(), cpu = system.getProcessCpuTime();
			while (System.nanoTime() - start < ms * 1000000) {
				for (int i = 0; i < 10; i++, n++) {
					log.log(Level.INFO, "GET /item/{0} {1} {2} bytes for user {3}", new Object[] {n, 200, 1234, "alice"});
				}
			}
			long us = (System.nanoTime() - start) / 1000;
			System.out.println(words[0] + " n=" + n + " us=" + us + " cpu=" + (system.getProcessCpuTime() - cpu) / 1000);
		}
	}
}
