import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.AbstractHandler;
import org.eclipse.jetty.server.handler.StatisticsHandler;

/** The ships that have moored, newest first: an HTTP API over a list in the Redis of REDIS_URL. */
public final class Quay extends AbstractHandler {
    /** Below the 30 s after which deployments kill. */
    private static final Duration GRACE = Duration.ofSeconds(25);

    private static final String SHIPS_SHOWN = "9"; // the index of the last
    private static final String SHIPS_KEPT = "999";
    private static final int NAME_LENGTH_MAX = 60;

    private final Redis redis;

    private Quay(Redis redis) {
        this.redis = redis;
    }

    public static void main(String[] args) throws Exception {
        Server server = new Server();
        HttpConfiguration http = new HttpConfiguration();
        http.setSendServerVersion(false);
        ServerConnector connector = new ServerConnector(server, new HttpConnectionFactory(http));
        connector.setHost(System.getenv().getOrDefault("HOST", "127.0.0.1"));
        connector.setPort(Integer.parseInt(variable("PORT")));
        server.addConnector(connector);
        StatisticsHandler inFlight = new StatisticsHandler();
        inFlight.setHandler(new Quay(new Redis(URI.create(variable("REDIS_URL")))));
        server.setHandler(inFlight);
        server.setStopTimeout(GRACE.toMillis());
        server.setStopAtShutdown(true);
        try {
            server.start();
        } catch (IOException cause) {
            System.err.println("cannot start: " + cause.getMessage());
            System.exit(1);
        }
        server.join();
    }

    private static String variable(String name) {
        String value = System.getenv(name);
        if (value == null) {
            System.err.println("cannot start: " + name + " is not in the environment; start this app with `tambat start`");
            System.exit(1);
        }
        return value;
    }

    @Override
    public void handle(String path, Request base, HttpServletRequest request, HttpServletResponse response)
            throws IOException {
        base.setHandled(true);
        try {
            if (path.equals("/healthz")) {
                response.getWriter().println("ok");
            } else if (!path.equals("/ships")) {
                response.sendError(HttpServletResponse.SC_NOT_FOUND);
            } else if (request.getMethod().equals("GET")) {
                list(response);
            } else if (request.getMethod().equals("POST")) {
                moor(request.getParameter("name"), response);
            } else {
                response.setHeader("Allow", "GET, POST");
                response.sendError(HttpServletResponse.SC_METHOD_NOT_ALLOWED);
            }
        } catch (Redis.Away cause) {
            System.err.println(cause.getMessage());
            response.sendError(HttpServletResponse.SC_BAD_GATEWAY, "the Redis of this quay is away");
        }
    }

    private void list(HttpServletResponse response) throws IOException {
        List<String> ships = redis.lines("LRANGE", "ships", "0", SHIPS_SHOWN);
        response.setContentType("application/json");
        response.getWriter().println(ships.stream().map(Quay::json).collect(Collectors.joining(",", "[", "]")));
    }

    private void moor(String name, HttpServletResponse response) throws IOException {
        String ship = name == null ? "" : name.trim();
        if (ship.isEmpty() || ship.length() > NAME_LENGTH_MAX) {
            response.sendError(422, "a ship's name has 1 to " + NAME_LENGTH_MAX + " characters");
            return;
        }
        redis.lines("LPUSH", "ships", ship);
        redis.lines("LTRIM", "ships", "0", SHIPS_KEPT);
        response.setStatus(HttpServletResponse.SC_CREATED);
    }

    private static String json(String text) {
        StringBuilder json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c < ' ' || c == '"' || c == '\\' || c > '~') {
                json.append(String.format("\\u%04x", (int) c));
            } else {
                json.append(c);
            }
        }
        return json.append('"').toString();
    }

    /** As much of the Redis protocol (RESP 2) as a list needs. A connection a command: none is ever stale. */
    private static final class Redis {
        /** For a connection, and for each read: a restart of Redis fits in, since connections wait for it. */
        private static final int PATIENCE_MS = 5_000;
        private static final int PORT_DEFAULT = 6379;
        private static final int REPLY_BYTES_MAX = 1 << 20;

        private final URI url;

        Redis(URI url) {
            if (!"redis".equals(url.getScheme()) || url.getHost() == null) {
                System.err.println("cannot start: REDIS_URL is not redis://[user:password@]host:port[/database]");
                System.exit(1);
            }
            this.url = url;
        }

        static final class Away extends IOException {
            private static final long serialVersionUID = 1;

            Away(IOException cause) {
                super("Redis is away: " + cause, cause);
            }
        }

        /** The lines of the answer: those of a list, or the one of anything else. */
        List<String> lines(String... command) throws Away {
            int port = url.getPort() < 0 ? PORT_DEFAULT : url.getPort();
            try (Socket socket = new Socket()) {
                socket.connect(new InetSocketAddress(url.getHost(), port), PATIENCE_MS);
                socket.setSoTimeout(PATIENCE_MS);
                String[] login = login();
                if (login.length > 0) {
                    exchange(socket, login);
                }
                String database = url.getPath() == null ? "" : url.getPath().replace("/", "");
                if (!database.isEmpty()) {
                    exchange(socket, "SELECT", database);
                }
                return exchange(socket, command);
            } catch (IOException cause) {
                throw new Away(cause);
            }
        }

        private String[] login() {
            if (url.getUserInfo() == null) {
                return new String[0];
            }
            String[] parts = url.getUserInfo().split(":", 2);
            String password = parts.length == 2 ? parts[1] : "";
            return parts[0].isEmpty() ? new String[] {"AUTH", password} : new String[] {"AUTH", parts[0], password};
        }

        private static List<String> exchange(Socket socket, String... words) throws IOException {
            ByteArrayOutputStream command = new ByteArrayOutputStream();
            command.write(("*" + words.length + "\r\n").getBytes(StandardCharsets.US_ASCII));
            for (String word : words) {
                byte[] bytes = word.getBytes(StandardCharsets.UTF_8);
                command.write(("$" + bytes.length + "\r\n").getBytes(StandardCharsets.US_ASCII));
                command.write(bytes);
                command.write("\r\n".getBytes(StandardCharsets.US_ASCII));
            }
            socket.getOutputStream().write(command.toByteArray());
            InputStream in = socket.getInputStream();
            String head = line(in);
            if (!head.startsWith("*")) {
                return List.of(value(head, in));
            }
            List<String> lines = new ArrayList<>();
            for (int left = Integer.parseInt(head.substring(1)); left > 0; left--) {
                lines.add(value(line(in), in));
            }
            return lines;
        }

        private static String value(String head, InputStream in) throws IOException {
            if (head.startsWith("-")) {
                throw new IOException(head.substring(1));
            }
            if (!head.startsWith("$")) {
                return head.substring(1);
            }
            int length = Integer.parseInt(head.substring(1));
            if (length < 0 || length > REPLY_BYTES_MAX) {
                throw new IOException("a reply of " + length + " bytes");
            }
            byte[] bytes = in.readNBytes(length + 2);
            if (bytes.length < length + 2) {
                throw new EOFException("a reply that ends early");
            }
            return new String(bytes, 0, length, StandardCharsets.UTF_8);
        }

        private static String line(InputStream in) throws IOException {
            StringBuilder line = new StringBuilder();
            for (int c = in.read(); c != '\r'; c = in.read()) {
                if (c < 0 || line.length() > REPLY_BYTES_MAX) {
                    throw new EOFException("a reply that ends early");
                }
                line.append((char) c);
            }
            if (in.read() != '\n' || line.length() == 0) {
                throw new IOException("a reply that is none of Redis'");
            }
            return line.toString();
        }
    }
}
