//! The town: Tornado asks Jetty, which asks Redis; PHP in Apache httpd and Thin live beside them. One `tambat start`.

use super::{beside, example, form, run_by_nobody, stop_in_the_middle_of};
use crate::support::{AppDir, get, programs};

fn town() -> AppDir {
    programs::tornado();
    programs::jetty();
    programs::redis();
    programs::apache_php();
    programs::thin();
    let app = example("town");
    ["tornado", "jetty", "apache-php", "thin"].iter().for_each(|name| beside(&app, name));
    app
}

/// What the square shows, once through all five.
fn square(app: &AppDir) -> String {
    let page = get(app.port("web"), "/");
    assert_eq!(page.status, 200, "{page:?}");
    page.body
}

#[test]
fn a_ship_goes_through_tornado_and_jetty_to_redis_and_is_still_there_after_a_restart_of_tambat() {
    let app = town();
    let mut running = app.start(&[]);
    running.up();
    // Nobody is there yet; each waits for whom it needs.
    let page = square(&app);
    for said in ["No ship yet.", "Nobody has left a line yet.", "6 kn in here, please, which is 11.1 km/h"] {
        assert!(page.contains(said), "no {said} in {page}");
    }
    let moor = format!("http://localhost:{}/ships", app.port("web"));
    let shown = app.curl(&["-L", "--data-urlencode", "name=Dewa <b>Ruci</b>", &moor]).must_be(0).stdout;
    assert!(shown.contains("<li>Dewa &lt;b&gt;Ruci&lt;/b&gt;</li>"), "{shown}");
    app.curl(&["-d", "line=Ahoj", &format!("http://localhost:{}/", app.port("wall"))]).must_be(0);
    let cache = app.port("cache").to_string();
    let kept = app.program("redis-cli", &["-p", &cache, "LRANGE", "ships", "0", "-1"]).must_be(0).stdout;
    assert_eq!(kept, "Dewa <b>Ruci</b>\n");
    assert_eq!(get(app.port("quay"), "/ships").body, "[\"Dewa <b>Ruci</b>\"]\n");
    let handles: Vec<String> = ["web", "quay"]
        .iter()
        .flat_map(|process| app.process(process)["uses"].as_array().unwrap().clone())
        .map(|handle| format!("{}={}", handle["variable"].as_str().unwrap(), handle["provider"].as_str().unwrap()))
        .collect();
    assert_eq!(handles, ["QUAY_URL=quay", "WALL_URL=wall", "KNOTS_URL=knots", "REDIS_URL=cache"]);

    // A stop of all five at once: who asks a neighbour then is told so, and not left alone.
    let answer = stop_in_the_middle_of(&form("/ships", "name=Arung+Samudera"), &app, "web", &mut running);
    assert!(matches!(answer.status, 303 | 502), "{answer:?}");

    run_by_nobody(app, |app, _, _| {
        let page = square(app);
        assert!(page.contains("Dewa &lt;b&gt;Ruci&lt;/b&gt;") && page.contains("<p>Ahoj</p>"), "{page}");
        assert_eq!(page.contains("Arung Samudera"), answer.status == 303, "{page}");
    });
}

#[test]
fn the_square_goes_on_without_a_neighbour_and_waits_for_one_that_restarts() {
    let app = town();
    let mut running = app.start(&[]);
    running.ready(&[]);
    let quay = app.pid_of("quay");
    for neighbour in ["quay", "cache"] {
        app.tambat(&["restart", neighbour]).must_be(0);
    }
    assert!(square(&app).contains("No ship yet."));
    app.pid_after("quay", quay);
    app.tambat(&["stop", "wall"]).must_be(0);
    app.until_state("wall", "stopped");
    let page = square(&app);
    assert!(page.contains("It is away right now.") && page.contains("No ship yet."), "{page}");
    assert_eq!(running.stop(), 0);
}
