package moon;

import java.time.Duration;
import java.time.Instant;

/** How much of the moon is lit, from the mean length of its month: half a day off at most. */
public final class Phase {
    private static final double MONTH_DAYS = 29.530588853;
    private static final Instant NEW_MOON = Instant.parse("2000-01-06T18:14:00Z");
    private static final String[] NAMES = {
        "New moon", "Waxing crescent", "First quarter", "Waxing gibbous", "Full moon", "Waning gibbous", "Last quarter",
        "Waning crescent",
    };

    /** Of a month, 0 to 1: 0 is a new moon, 0.5 a full one. */
    private final double age;

    public Phase(Instant at) {
        double days = Duration.between(NEW_MOON, at).toMinutes() / 1440.0;
        double months = days / MONTH_DAYS;
        age = months - Math.floor(months);
    }

    public String name() {
        return NAMES[(int) Math.round(age * 8) % 8];
    }

    public long litPercent() {
        return Math.round(50 * (1 - Math.cos(2 * Math.PI * age)));
    }

    /** The outline of the lit part of a disc of radius 90 around the origin, as an SVG path; seen from the north. */
    public String outline() {
        boolean waxing = age < 0.5;
        double edge = 90 * Math.cos(2 * Math.PI * age);
        boolean bulges = waxing == edge > 0;
        return String.format(java.util.Locale.ROOT, "M0,-90 A90,90 0 0 %d 0,90 A%.1f,90 0 0 %d 0,-90",
            waxing ? 1 : 0, Math.abs(edge), bulges ? 0 : 1);
    }
}
