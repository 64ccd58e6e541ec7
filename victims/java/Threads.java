// Threads parked in a monitor, a sleep and a lock, each below a chain of calls.
public class Threads {
    static final Object monitor = new Object();

    static void inner(int kind) throws InterruptedException {
        switch (kind) {
            case 0:
                synchronized (monitor) {
                    while (true) monitor.wait();
                }
            case 1:
                Thread.sleep(Long.MAX_VALUE);
                break;
            default:
                while (true) java.util.concurrent.locks.LockSupport.park();
        }
    }

    static void middle(int kind) throws InterruptedException { inner(kind); }

    public static void main(String[] args) throws Exception {
        for (int i = 0; i < 3; i++) {
            final int kind = i;
            Thread t = new Thread(() -> {
                try {
                    middle(kind);
                } catch (InterruptedException e) {
                    throw new RuntimeException(e);
                }
            }, "worker-" + i);
            t.setDaemon(true);
            t.start();
        }
        Thread.sleep(500);
        System.out.println("ready threads=3");
        while (System.in.read() >= 0) {}
        Runtime.getRuntime().halt(0);
    }
}
