//! Thin, in Ruby.

use super::{example, form, run_by_nobody, stop_in_the_middle_of};
use crate::support::{AppDir, get, programs};

fn knots() -> AppDir {
    programs::thin();
    example("thin")
}

#[test]
fn thin_serves_from_its_first_moment_and_finishes_on_term() {
    let app = knots();
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("web");
    let speed = get(port, "/speed?knots=12");
    assert_eq!(speed.body, "{\"knots\":12.0,\"kmh\":22.224,\"ms\":6.173,\"mph\":13.809}\n", "{speed:?}");
    assert!(get(port, "/?knots=10").body.contains("<h1>10 kn is 18.5 km/h</h1>"));
    for (path, status) in
        [("/speed?knots=fast", 400), ("/speed?knots[a]=1", 400), ("/speed?knots=1e99", 400), ("/x", 404)]
    {
        assert_eq!(get(port, path).status, status, "{path}");
    }
    let answer = stop_in_the_middle_of(&form("/speed", "knots=100"), &app, "web", &mut running);
    assert!(answer.status == 200 && answer.body.contains("\"knots\":100.0"), "{answer:?}");
    running.line("exited with code 0");
}

#[test]
fn thin_needs_no_privilege_and_ends_with_ctrl_c() {
    run_by_nobody(knots(), |app, _, _| {
        let address = format!("http://localhost:{}/speed?knots=1", app.port("web"));
        assert!(app.curl(&["--fail", &address]).must_be(0).stdout.contains("1.852"));
    });
}
