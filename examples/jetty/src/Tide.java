import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Locale;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.AbstractHandler;
import org.eclipse.jetty.server.handler.StatisticsHandler;

/** The height of the tide in a harbour that does not exist: a page, and JSON at {@code /tide?at=}. */
public final class Tide extends AbstractHandler {
    /** Below the 30 s after which deployments kill. */
    private static final Duration GRACE = Duration.ofSeconds(25);

    /** POST is for forms. */
    private static final List<String> METHODS = List.of("GET", "HEAD", "POST");

    private static final Instant EPOCH = Instant.parse("2000-01-01T00:00:00Z");

    /** M2, S2, K1 and O1: their periods are the moon's and the sun's, their amplitudes and phases are made up. */
    private static final Wave[] WAVES = {
        new Wave(12.4206012, 0.9, 0.4), new Wave(12.0, 0.3, 1.1), new Wave(23.93447213, 0.25, 2.0),
        new Wave(25.81933871, 0.2, 0.7),
    };

    private static final class Wave {
        final double periodHours;
        final double amplitudeMetres;
        final double phase;

        Wave(double periodHours, double amplitudeMetres, double phase) {
            this.periodHours = periodHours;
            this.amplitudeMetres = amplitudeMetres;
            this.phase = phase;
        }
    }

    public static void main(String[] args) throws Exception {
        String port = System.getenv("PORT");
        if (port == null) {
            System.err.println("cannot start: PORT is not in the environment; start this app with `tambat start`");
            System.exit(1);
        }
        Server server = new Server();
        HttpConfiguration http = new HttpConfiguration();
        http.setSendServerVersion(false);
        ServerConnector connector = new ServerConnector(server, new HttpConnectionFactory(http));
        connector.setHost(System.getenv().getOrDefault("HOST", "127.0.0.1"));
        connector.setPort(Integer.parseInt(port));
        server.addConnector(connector);
        // On TERM the JVM runs its shutdown hooks, Jetty's among them. What this handler counts is waited for.
        StatisticsHandler inFlight = new StatisticsHandler();
        inFlight.setHandler(new Tide());
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

    @Override
    public void handle(String path, Request base, HttpServletRequest request, HttpServletResponse response)
            throws IOException {
        base.setHandled(true);
        if (!METHODS.contains(request.getMethod())) {
            response.setHeader("Allow", String.join(", ", METHODS));
            response.sendError(HttpServletResponse.SC_METHOD_NOT_ALLOWED);
        } else if (path.equals("/")) {
            response.setContentType("text/html; charset=utf-8");
            response.getWriter().print(page(Instant.now()));
        } else if (path.equals("/tide")) {
            json(request.getParameter("at"), response);
        } else {
            response.sendError(HttpServletResponse.SC_NOT_FOUND);
        }
    }

    private static void json(String at, HttpServletResponse response) throws IOException {
        Instant moment;
        try {
            moment = at == null ? Instant.now().truncatedTo(ChronoUnit.SECONDS) : Instant.parse(at);
        } catch (DateTimeParseException cause) {
            response.sendError(HttpServletResponse.SC_BAD_REQUEST, "at is a moment like 2026-01-31T12:00:00Z");
            return;
        }
        response.setContentType("application/json");
        response.getWriter().print(format("{\"at\":\"%s\",\"height_m\":%.3f}\n", moment, metres(moment)));
    }

    /** Above the mean level. */
    static double metres(Instant at) {
        double hours = (at.getEpochSecond() - EPOCH.getEpochSecond()) / 3600.0;
        double metres = 0;
        for (Wave wave : WAVES) {
            metres += wave.amplitudeMetres * Math.cos(2 * Math.PI * hours / wave.periodHours - wave.phase);
        }
        return metres;
    }

    private static String page(Instant now) {
        StringBuilder curve = new StringBuilder();
        for (int minutes = 0; minutes <= 24 * 60; minutes += 15) {
            double metres = metres(now.plus(Duration.ofMinutes(minutes)));
            curve.append(format("%s%.1f,%.1f ", minutes == 0 ? "M" : "L", minutes / 3.0, 100 - 50 * metres));
        }
        return format("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">"
            + "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
            + "<meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\"><title>Tide</title>"
            + "<body style=\"font: 1.2rem/1.5 system-ui; max-width: 34rem; margin: 10vh auto; padding: 0 1rem\">"
            + "<h1>%.2f m</h1><p>The tide now, above the mean, and in the next 24 hours.</p>"
            + "<svg viewBox=\"0 0 480 200\" role=\"img\" aria-label=\"the curve of the tide\">"
            + "<path d=\"M0,100 H480\" stroke=\"gray\"/><path d=\"%s\" fill=\"none\" stroke=\"#2a7ab8\" stroke-width=\"3\"/>"
            + "</svg></body></html>\n", metres(now), curve);
    }

    private static String format(String format, Object... values) {
        return String.format(Locale.ROOT, format, values);
    }
}
