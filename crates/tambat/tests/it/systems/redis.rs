//! Redis, durable, as the backing service of a page: the rest of what it does stands in `redis_example`.

use super::{example, run_by_nobody, stop_in_the_middle_of};
use crate::support::{AppDir, get, programs};

const VISIT: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\nahoj";

fn visits() -> AppDir {
    programs::redis();
    programs::tornado();
    example("redis")
}

#[test]
fn a_visit_that_began_before_term_is_counted_by_redis_before_both_end() {
    let app = visits();
    let mut running = app.start(&[]);
    running.up();
    assert!(get(app.port("web"), "/").body.contains("<h1>1</h1>"));
    running.ready(&[]);
    let answer = stop_in_the_middle_of(VISIT, &app, "web", &mut running);
    // Redis may be the first to end.
    assert!(matches!(answer.status, 200 | 503), "{answer:?}");

    run_by_nobody(app, |app, _, _| {
        let count =
            app.program("redis-cli", &["-p", &app.port("cache").to_string(), "GET", "visits"]).must_be(0).stdout;
        assert_eq!(count.trim_end(), if answer.status == 200 { "2" } else { "1" }, "it is on the disk: {answer:?}");
    });
}
