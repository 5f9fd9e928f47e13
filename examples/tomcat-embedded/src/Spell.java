import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.apache.catalina.LifecycleException;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.core.StandardContext;
import org.apache.catalina.startup.Tomcat;

/** Spells words as they are spelt over the radio: a page, and plain text at {@code /spell?word=}. */
public final class Spell extends HttpServlet {
    private static final long serialVersionUID = 1;

    /** For requests in flight; below the 30 s after which deployments kill. Tomcat's own is 2 s. */
    private static final long GRACE_MS = 25_000;

    private static final int WORD_LENGTH_MAX = 40;

    private static final String[] LETTERS = {
        "Alfa", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India", "Juliett", "Kilo", "Lima", "Mike",
        "November", "Oscar", "Papa", "Quebec", "Romeo", "Sierra", "Tango", "Uniform", "Victor", "Whiskey", "Xray", "Yankee",
        "Zulu",
    };

    private static final String[] DIGITS = {
        "Nadazero", "Unaone", "Bissotwo", "Terrathree", "Kartefour", "Pantafive", "Soxisix", "Setteseven", "Oktoeight",
        "Novenine",
    };

    public static void main(String[] args) throws LifecycleException {
        String port = System.getenv("PORT");
        if (port == null) {
            System.err.println("cannot start: PORT is not in the environment; start this app with `tambat start`");
            System.exit(1);
        }
        String host = System.getenv().getOrDefault("HOST", "127.0.0.1");
        Connector connector = new Connector();
        connector.setPort(Integer.parseInt(port));
        connector.setProperty("address", host);
        // Only a port that was bound at the start is closed at the beginning of a stop, and not at its end.
        connector.setProperty("bindOnInit", "false");
        connector.setThrowOnFailure(true);

        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir("build/base");
        tomcat.setConnector(connector);
        StandardContext context = (StandardContext) tomcat.addContext("", null);
        context.setUnloadDelay(GRACE_MS);
        Tomcat.addServlet(context, "spell", new Spell()).addMapping("/");

        try {
            tomcat.start();
        } catch (LifecycleException cause) {
            System.err.println("cannot start: " + root(cause).getMessage());
            System.exit(1);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(tomcat), "stop"));
        System.err.println("listening on " + host + ":" + connector.getLocalPort());
        tomcat.getServer().await();
    }

    /** On TERM the JVM runs its shutdown hooks; Tomcat alone has none when it is embedded. */
    private static void stop(Tomcat tomcat) {
        try {
            tomcat.stop();
            tomcat.destroy();
        } catch (LifecycleException cause) {
            System.err.println("cannot stop: " + cause.getMessage());
        }
    }

    private static Throwable root(Throwable cause) {
        return cause.getCause() == null ? cause : root(cause.getCause());
    }

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String word = request.getParameter("word");
        if (word == null) {
            word = "tambat";
        }
        if (word.length() > WORD_LENGTH_MAX) {
            response.sendError(HttpServletResponse.SC_BAD_REQUEST);
        } else if (request.getRequestURI().equals("/spell")) {
            response.setContentType("text/plain; charset=utf-8");
            response.getWriter().println(spell(word));
        } else if (request.getRequestURI().equals("/")) {
            response.setContentType("text/html; charset=utf-8");
            response.getWriter().print(page(word));
        } else {
            response.sendError(HttpServletResponse.SC_NOT_FOUND);
        }
    }

    /** A form, whose field is a parameter, too. */
    @Override
    protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
        doGet(request, response);
    }

    /** What is neither a letter nor a digit of theirs is left out. */
    static String spell(String word) {
        List<String> spelt = new ArrayList<>();
        for (char c : word.toUpperCase(Locale.ROOT).toCharArray()) {
            if (c >= 'A' && c <= 'Z') {
                spelt.add(LETTERS[c - 'A']);
            } else if (c >= '0' && c <= '9') {
                spelt.add(DIGITS[c - '0']);
            }
        }
        return String.join(" ", spelt);
    }

    private static String page(String word) {
        String shown = word.replace("&", "&amp;").replace("<", "&lt;").replace("\"", "&quot;");
        return "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">"
            + "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
            + "<meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\"><title>Spell</title>"
            + "<body style=\"font: 1.2rem/1.5 system-ui; max-width: 30rem; margin: 15vh auto; padding: 0 1rem;"
            + " text-align: center\"><h1>" + spell(word) + "</h1><form><label>Word <input name=\"word\" maxlength=\""
            + WORD_LENGTH_MAX + "\" value=\"" + shown + "\"></label> <button>Spell</button></form></body></html>\n";
    }
}
