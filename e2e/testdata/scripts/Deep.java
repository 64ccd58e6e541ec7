// Writes who called whom, innermost first, and waits.
public class Deep {
    static void inner() throws Exception {
        StackTraceElement[] all = Thread.currentThread().getStackTrace();
        for (int i = 2; i < all.length; i++) {
            if (all[i].getClassName().startsWith("Deep"))
                System.out.println("frame " + all[i].getMethodName() + " " + all[i].getLineNumber());
        }
        System.out.println("ready");
        System.in.read();
    }

    static void middle(int n) throws Exception {
        inner();
    }

    void outer(int depth) throws Exception {
        if (depth > 0) {
            outer(depth - 1);
            return;
        }
        middle(depth);
    }

    public static void main(String[] args) throws Exception {
        new Deep().outer(3);
    }
}
